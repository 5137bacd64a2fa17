// Services: how requests are shared among nodes, and how nodes are watched.

import { text, type Kind } from "./kind";

export const services: Kind = {
  id: "services",
  schema: "Service",
  columns: [
    { field: "balancer", isSortable: true, show: ({ value }) => text(value.balancer ?? "round_robin") },
    { field: "protocol", isSortable: true, show: ({ value }) => text(value.protocol ?? "http1") },
    { field: "max_tries", isSortable: true, show: ({ value }) => text(value.max_tries) },
  ],
  filters: [
    { field: "balancer", values: ["round_robin", "random", "least_requests", "ewma", "hash"] },
    { field: "protocol", values: ["http1", "http2", "auto"] },
  ],
  groups: [
    { title: "objects.basics", fields: ["balancer", "hash", "protocol", "max_tries"] },
    { title: "objects.watching", fields: ["health"] },
  ],
  begin: () => ({}),
  naming: "required",
  mayBeUndeclared: true,
  service: (name) => name,
};
