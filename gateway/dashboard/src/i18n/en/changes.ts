export default {
  create: "new",
  update: "changed",
  delete: "deleted",
  pending: "Revision {revision} is taken back in {left} unless it is confirmed.",
  confirm: "Keep it",
  undo: "Take it back now",
  confirmed: "Revision {revision} stays.",
  undone: "Revision {revision} was taken back.",
  over: "Revision {revision} waits no longer: it was confirmed or taken back.",
};
