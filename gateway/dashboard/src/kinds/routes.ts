// Which requests go to which service, through which plugins.

import { text, type Kind } from "./kind";

const kind: Kind = {
  path: "routes",
  schema: "Route",
  naming: "optional",
  columns: [
    { field: "prefix", cell: "name", isSortable: true },
    { field: "hosts", cell: "list" },
    { field: "service_name", cell: "service", isSortable: true },
    { field: "protocol", cell: "text", width: 100 },
    { field: "plugins", cell: "list" },
    { field: "labels", cell: "labels" },
    { field: "time", cell: "time", width: 130, isSortable: true },
    { field: "status", cell: "on", width: 90 },
  ],
  filters: [{ field: "service_name" }, { field: "protocol", values: ["http", "grpc"] }, { field: "status", values: ["1", "0"] }],
  groups: [
    { title: "match", fields: ["prefix", "hosts", "methods", "headers", "query", "priority"] },
    { title: "target", fields: ["service_name", "protocol", "status"] },
    { title: "limits", fields: ["timeouts", "retry", "max_body_size"] },
    { title: "notes", fields: ["labels"] },
  ],
  begin: () => ({ prefix: "", hosts: [], service_name: "", protocol: "http", status: 1, plugins: ["tracing"] }),
  switch: { field: "status", on: 1, off: 0, isOffWhenAbsent: true },
  service: (_name, value) => text(value, "service_name"),
  title: (item) => text(item.value, "prefix") ?? item.name,
  parts: ["plugins"],
};
export default kind;
