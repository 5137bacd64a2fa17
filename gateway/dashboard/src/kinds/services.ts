// How the nodes of a service are chosen, reached, watched and spared.

import type { Kind } from "./kind";

const kind: Kind = {
  path: "services",
  schema: "Service",
  naming: "given",
  isImplied: true,
  columns: [
    { field: "", cell: "name", isSortable: true },
    { field: "balancer", cell: "text", isSortable: true },
    { field: "protocol", cell: "text" },
    { field: "labels", cell: "labels" },
  ],
  filters: [{ field: "balancer", values: ["round_robin", "random", "least_requests", "ewma", "hash"] }],
  groups: [
    { title: "balancing", fields: ["balancer", "hash", "slow_start", "limits"] },
    { title: "reaching", fields: ["protocol", "tls", "proxy_protocol", "timeouts"] },
    { title: "failing", fields: ["max_tries", "retry", "health"] },
    { title: "notes", fields: ["labels"] },
  ],
  begin: () => ({ balancer: "round_robin" }),
  service: (name) => name,
  parts: ["nodes"],
};
export default kind;
