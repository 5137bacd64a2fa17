// Node overlays: what operators say of a node, over what the node says of itself.

import { asText, text, type Kind } from "./kind";

const tones = { enabled: "good", drain: "odd", disabled: "quiet" } as const;

export const nodeOverlays: Kind = {
  id: "node-overlays",
  schema: "NodeOverlay",
  columns: [
    {
      field: "state",
      isSortable: true,
      show: ({ value }) => {
        const state = (asText(value.state) || "enabled") as keyof typeof tones;
        return { as: "state", text: `objects.state.${state}`, tone: tones[state] ?? "plain" };
      },
    },
    { field: "weight", isSortable: true, show: ({ value }) => text(value.weight) },
  ],
  filters: [{ field: "state", values: ["enabled", "drain", "disabled"] }],
  groups: [{ title: "objects.basics", fields: ["state", "weight"] }],
  begin: () => ({ state: "enabled" }),
  naming: "node",
  // A node's name begins with its service's.
  service: (name) => name.slice(0, Math.max(0, name.lastIndexOf("."))),
};
