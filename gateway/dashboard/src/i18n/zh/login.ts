export default {
  title: "登录",
  user: "用户名",
  password: "密码",
  code: "身份验证器动态码",
  submit: "登录",
  oidc: "使用企业账号登录",
  first: "初始密码在网关首次启动时打印。",
  wrong: "用户名、密码或动态码不正确。",
  locked: "用户名、密码或动态码不正确；或者错误次数过多，此账号暂时不能从这里登录，最长一刻钟，请稍后再试。",
  tagline: "轻量、可编程，任何变更都无需重启。",
  elsewhere: "前往身份提供方登录",
  goOn: "已登录，继续",
};
