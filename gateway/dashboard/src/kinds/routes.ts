// Routes: which requests go to which service, through which plugins.

import { asText, code, codes, text, type Kind } from "./kind";

export const routes: Kind = {
  id: "routes",
  schema: "Route",
  columns: [
    { field: "prefix", isSortable: true, show: ({ value }) => code(value.prefix) },
    { field: "hosts", show: ({ value }) => codes(value.hosts) },
    { field: "service_name", isSortable: true, show: ({ value }) => ({ as: "link", kind: "services", name: asText(value.service_name) }) },
    { field: "protocol", isSortable: true, show: ({ value }) => text(value.protocol ?? "http") },
    { field: "plugins", show: ({ value }) => codes(value.plugins) },
  ],
  filters: [
    { field: "service_name" },
    { field: "status", values: ["1", "0"] },
    { field: "protocol", values: ["http", "grpc"] },
  ],
  groups: [
    { title: "objects.basics", fields: ["prefix", "service_name", "protocol", "status"] },
    { title: "objects.matching", fields: ["hosts", "methods"] },
    { title: "objects.plugins", fields: ["plugins"] },
  ],
  begin: () => ({ prefix: "", service_name: "", protocol: "http", status: 1, plugins: [] }),
  naming: "optional",
  hasSwitch: { isOnByDefault: false },
  service: (_name, value) => asText(value.service_name),
  special: { plugins: "plugins", props: "hidden", service_name: "service" },
  shownOnly: ["key", "time"],
};
