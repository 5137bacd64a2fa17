// Plugins that run on every route.

import type { Kind } from "./kind";

const kind: Kind = {
  path: "global-plugins",
  schema: "GlobalPlugin",
  naming: "given",
  columns: [
    { field: "", cell: "name", isSortable: true },
    { field: "config", cell: "code" },
    { field: "labels", cell: "labels" },
    { field: "status", cell: "on", width: 90 },
  ],
  filters: [{ field: "status", values: ["1", "0"] }],
  groups: [
    { title: "state", fields: ["status"] },
    { title: "notes", fields: ["labels"] },
  ],
  begin: () => ({ status: 1, config: {} }),
  switch: { field: "status", on: 1, off: 0 },
  parts: ["plugin"],
};
export default kind;
