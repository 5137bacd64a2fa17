export default {
  create: "新增",
  update: "修改",
  delete: "删除",
  pending: "版本 {revision} 若未确认，将在 {left} 后自动撤回。",
  confirm: "确认保留",
  undo: "立即撤回",
  confirmed: "版本 {revision} 已确认保留。",
  undone: "版本 {revision} 已撤回。",
  over: "版本 {revision} 已不再等待：已被确认或撤回。",
};
