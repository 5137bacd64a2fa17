// What the API says of itself and of its plugins. Asked for once.

import { get, LONGEST_PAGE } from "@/api/client";
import type { Page, PluginInfo } from "@/api/types";
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

/** The services there are: those that are declared, and those that nodes or routes name. */
export async function serviceNames(signal?: AbortSignal): Promise<string[]> {
  const [declared, ...naming] = await Promise.all(
    ["/services", "/nodes", "/routes"].map((path) => get<Page>(path, { limit: LONGEST_PAGE }, signal)),
  );
  const names = new Set(declared?.items.map((item) => item.name));
  for (const item of naming.flatMap((page) => page.items)) {
    if (typeof item.value.service_name === "string") names.add(item.value.service_name);
  }
  names.delete("");
  return [...names].sort();
}
