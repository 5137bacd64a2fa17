// All kinds of objects the panel edits. A kind to come is a file here and a line below.

import { certificates } from "./certificates";
import { globalPlugins } from "./global-plugins";
import type { Kind } from "./kind";
import { nodeOverlays } from "./node-overlays";
import { nodes } from "./nodes";
import { routes } from "./routes";
import { services } from "./services";

export const KINDS: Kind[] = [routes, services, nodes, nodeOverlays, globalPlugins, certificates];

export function kindOf(id: string): Kind | undefined {
  return KINDS.find((kind) => kind.id === id);
}
