// Nodes: where a service listens.

import { asText, code, text, type Kind } from "./kind";

export const nodes: Kind = {
  id: "nodes",
  schema: "Node",
  columns: [
    { field: "upstream", isSortable: true, show: ({ value }) => code(value.upstream) },
    { field: "service_name", isSortable: true, show: ({ value }) => ({ as: "link", kind: "services", name: asText(value.service_name) }) },
    { field: "weight", isSortable: true, show: ({ value }) => text(value.weight ?? 1) },
    {
      field: "registered",
      show: ({ registered }) => ({ as: "state", text: registered ? "objects.registered" : "objects.declared", tone: registered ? "odd" : "plain" }),
    },
  ],
  filters: [{ field: "service_name" }, { field: "status", values: ["1", "0"] }],
  groups: [{ title: "objects.basics", fields: ["service_name", "upstream", "weight", "status"] }],
  begin: () => ({ service_name: "", upstream: "", weight: 1, status: 1 }),
  naming: "optional",
  hasSwitch: { isOnByDefault: true },
  service: (_name, value) => asText(value.service_name),
  special: { service_name: "service" },
  shownOnly: ["key", "time"],
};
