// What the API says of itself and of its plugins. Asked for once.

import { get } from "@/api/client";
import type { PluginInfo } from "@/api/types";
import type { Root, Schema } from "@/components/schema/schema";

function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: Promise<T> | undefined;
  return () => {
    loaded ??= load().catch((error: unknown) => {
      // It may be there the next time.
      loaded = undefined;
      throw error;
    });
    return loaded;
  };
}

export const apiDescription = once(() => get<Root>("/openapi.json"));

export const plugins = once(async () => (await get<{ items: PluginInfo[] }>("/plugins")).items);

export function schemaNamed(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}
