// Global plugins: what runs for all routes.

import { code, type Kind } from "./kind";

export const globalPlugins: Kind = {
  id: "global-plugins",
  schema: "GlobalPlugin",
  columns: [{ field: "config", show: ({ value }) => code(JSON.stringify(value.config ?? {})) }],
  filters: [{ field: "status", values: ["1", "0"] }],
  groups: [{ title: "objects.basics", fields: ["status", "config"] }],
  begin: () => ({ status: 1, config: {} }),
  naming: "plugin",
  hasSwitch: { isOnByDefault: true },
  special: { config: "plugin-config" },
};
