// Where services listen. Those that services register themselves are shown, and not changed here.

import { text, type Kind } from "./kind";

const kind: Kind = {
  path: "nodes",
  schema: "Node",
  naming: "made",
  columns: [
    { field: "upstream", cell: "name", isSortable: true },
    { field: "service_name", cell: "service", isSortable: true },
    { field: "weight", cell: "number", width: 100, isSortable: true },
    { field: "labels", cell: "labels" },
    { field: "time", cell: "time", width: 130, isSortable: true },
    { field: "status", cell: "on", width: 90 },
  ],
  filters: [{ field: "service_name" }, { field: "status", values: ["1", "0"] }],
  groups: [
    { title: "node", fields: ["service_name", "upstream", "weight", "status"] },
    { title: "notes", fields: ["labels"] },
  ],
  begin: () => ({ service_name: "", upstream: "", weight: 1, status: 1 }),
  switch: { field: "status", on: 1, off: 0 },
  service: (_name, value) => text(value, "service_name"),
  title: (item) => text(item.value, "upstream") ?? item.name,
};
export default kind;
