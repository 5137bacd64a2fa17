export default {
  routes: "路由",
  services: "服务",
  nodes: "节点",
  "node-overlays": "节点覆盖",
  "global-plugins": "全局插件",
  certificates: "证书",
  users: "用户",
  tokens: "令牌",
  other: "其他",
};
