export default {
  routes: "Routes",
  services: "Services",
  nodes: "Nodes",
  "node-overlays": "Node overlays",
  "global-plugins": "Global plugins",
  certificates: "Certificates",
  users: "Users",
  tokens: "Tokens",
  other: "Other",
};
