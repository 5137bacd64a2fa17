export default {
  routes: "哪些请求经过哪些插件，去往哪个服务。",
  services: "如何选择、连接、检查和保护服务的节点。",
  nodes: "服务的监听地址。服务自行注册的节点在此只能查看。",
  "node-overlays": "运维人员对节点的设定，无论节点由谁注册：权重，以及是否接收请求。",
  "global-plugins": "对所有路由生效的插件。",
  certificates: "按域名向客户端出示的证书，私钥加密保存。",
};
