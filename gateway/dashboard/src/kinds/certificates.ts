// Certificates that clients are shown by host, with their keys.

import { at, type Kind } from "./kind";

const kind: Kind = {
  path: "certificates",
  schema: "Certificate",
  naming: "optional",
  columns: [
    { field: "details.names", cell: "name" },
    { field: "details.issuer", cell: "text" },
    { field: "details.ends_in_seconds", cell: "ends", width: 160 },
    { field: "default", cell: "yes", width: 100 },
    { field: "client_auth", cell: "text", width: 130 },
    { field: "labels", cell: "labels" },
  ],
  filters: [],
  groups: [
    { title: "certificate", fields: ["cert", "key", "hosts", "default"] },
    { title: "clients", fields: ["client_auth", "client_ca"] },
    { title: "notes", fields: ["labels"] },
  ],
  begin: () => ({ cert: "", key: "" }),
  title: (item) => {
    const names = at(item.value, "details.names");
    return Array.isArray(names) && names.length > 0 ? names.join(", ") : item.name;
  },
  parts: ["certificate"],
};
export default kind;
