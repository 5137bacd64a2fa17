// An operator's word on a node, whoever registered it.

import type { Kind } from "./kind";

const kind: Kind = {
  path: "node-overlays",
  schema: "NodeOverlay",
  naming: "given",
  isImplied: true,
  columns: [
    { field: "", cell: "name", isSortable: true },
    { field: "state", cell: "state", isSortable: true },
    { field: "weight", cell: "number", width: 120 },
    { field: "labels", cell: "labels" },
  ],
  filters: [{ field: "state", values: ["enabled", "drain", "disabled"] }],
  groups: [
    { title: "overlay", fields: ["state", "weight"] },
    { title: "notes", fields: ["labels"] },
  ],
  begin: () => ({ state: "enabled" }),
  // The name is the node's: its service, a dot, and a digest without one.
  service: (name) => (name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : undefined),
};
export default kind;
