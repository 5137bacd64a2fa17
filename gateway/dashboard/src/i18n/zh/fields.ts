// 字段的名称，以及 API 自带说明不足时的提示。
export default {
  labels: {
    name: "名称", prefix: "路径", hosts: "主机名", methods: "请求方法", headers: "请求头", query: "查询参数", priority: "优先级",
    service_name: "服务", protocol: "协议", status: "启用", plugins: "插件", timeouts: "超时", retry: "重试",
    max_body_size: "请求体上限（字节）", labels: "标签", balancer: "负载均衡", hash: "哈希依据", slow_start: "慢启动",
    max_tries: "最多尝试次数", limits: "单节点限制", health: "健康检查", tls: "到节点的 TLS",
    proxy_protocol: "PROXY 协议", upstream: "地址", weight: "权重", state: "状态", config: "设置", cert: "证书",
    key: "私钥", default: "默认证书", client_ca: "客户端 CA", client_auth: "要求客户端证书",
    connect: "连接", read: "读取", send: "发送", first_byte: "首字节", total: "总计", on: "条件", within: "时限", budget: "预算",
    connections: "连接数", requests: "请求数", pending: "等待数", active: "主动检查", passive: "被动检查", type: "类型",
    enabled: "启用", port: "端口", path: "路径", host: "主机名", statuses: "正常状态码", interval: "间隔", timeout: "超时",
    bounded_load: "负载上限", consecutive_errors: "连续错误数", error_ratio: "错误比例", latency_factor: "延迟倍数",
    window: "统计窗口", min_requests: "最少请求数", eject_time: "摘除时长", max_ejected: "最大摘除比例", ca: "CA", sni: "SNI",
    verify_name: "校验的名称", registered: "来源", issuer: "颁发者", ends: "到期", rise: "恢复所需成功次数", fall: "判定失败次数",
    regex: "正则表达式", replace: "替换为", sampled: "采样",
  },
  hints: {
    prefix: "精确路径，或以 * 结尾表示前缀匹配：/api/*",
    service_name: "请求转发到的服务。",
    upstream: "主机:端口，例如 10.0.0.5:8080",
    hosts: "留空表示所有主机名。",
    methods: "留空表示所有方法。",
    status: "是否生效。",
    protocol: "与服务之间使用的协议。",
    balancer: "如何为每个请求选择节点。",
  },
};
