// Labels of fields, and hints where the API's own description is not enough. `kind-field` goes before `field`.
export default {
  labels: {
    name: "Name", prefix: "Path", hosts: "Hosts", methods: "Methods", headers: "Headers", query: "Query arguments", priority: "Priority",
    service_name: "Service", protocol: "Protocol", status: "On", plugins: "Plugins", timeouts: "Timeouts", retry: "Retries",
    max_body_size: "Largest body (bytes)", labels: "Labels", balancer: "Balancing", hash: "Hash by", slow_start: "Slow start",
    max_tries: "Most tries", limits: "Limits of each node", health: "Health checks", tls: "TLS towards nodes",
    proxy_protocol: "PROXY protocol", upstream: "Address", weight: "Weight", state: "State", config: "Settings", cert: "Certificate",
    key: "Private key", default: "Default certificate", client_ca: "CAs of clients", client_auth: "Ask clients for one",
    connect: "Connect", read: "Read", send: "Send", first_byte: "First byte", total: "In total", on: "When", within: "Within", budget: "Budget",
    connections: "Connections", requests: "Requests", pending: "Waiting", active: "Active check", passive: "Passive check", type: "Kind",
    enabled: "Enabled", port: "Port", path: "Path", host: "Host", statuses: "Good statuses", interval: "Interval", timeout: "Timeout",
    bounded_load: "Bounded load", consecutive_errors: "Errors in a row", error_ratio: "Share of errors", latency_factor: "Latency factor",
    window: "Window", min_requests: "Fewest requests", eject_time: "Left out for", max_ejected: "Most left out", ca: "CA", sni: "SNI",
    verify_name: "Name to verify", registered: "Origin", issuer: "Issuer", ends: "Ends", rise: "Successes to recover", fall: "Failures to fail",
    regex: "Regular expression", replace: "Replacement", sampled: "Sampled",
  },
  hints: {
    prefix: "Exact, or ending in * for all that begin so: /api/*",
    service_name: "Where requests go.",
    upstream: "host:port, such as 10.0.0.5:8080",
    hosts: "All hosts when empty.",
    methods: "All methods when empty.",
    status: "Whether it is in use.",
    protocol: "What is spoken towards the service.",
    balancer: "How a node is chosen for each request.",
  },
};
