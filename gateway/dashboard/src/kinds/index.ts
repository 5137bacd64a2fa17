// The kinds there are, by their place in the API. A kind to come is a file beside this and a line here.

import certificates from "./certificates";
import globalPlugins from "./global-plugins";
import type { Kind } from "./kind";
import nodeOverlays from "./node-overlays";
import nodes from "./nodes";
import routes from "./routes";
import services from "./services";

const KINDS: Record<string, Kind> = Object.fromEntries(
  [routes, services, nodes, nodeOverlays, globalPlugins, certificates].map((kind) => [kind.path, kind]),
);

export function kindOf(path: string): Kind | undefined {
  return Object.hasOwn(KINDS, path) ? KINDS[path] : undefined;
}

export const kinds = Object.values(KINDS);
