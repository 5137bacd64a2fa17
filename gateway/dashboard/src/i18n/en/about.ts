export default {
  routes: "Which requests go to which service, through which plugins.",
  services: "How the nodes of a service are chosen, reached, watched and spared.",
  nodes: "Where services listen. Those that services register themselves are shown, and not changed here.",
  "node-overlays": "An operator's word on a node, whoever registered it: its weight, and whether it takes requests.",
  "global-plugins": "Plugins that run on every route.",
  certificates: "Certificates that clients are shown by host. Keys are stored encrypted.",
};
