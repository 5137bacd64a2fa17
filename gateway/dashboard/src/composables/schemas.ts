// The API's description and the plugins' schemas: read once, when a form first needs them.

import { get } from "@/api/client";
import type { PluginInfo } from "@/api/types";
import { isRecord, type Root, type Schema } from "@/components/SchemaForm/schema";

export interface Schemas {
  root: Root;
  plugins: PluginInfo[];
  of(name: string): Schema;
}

let reading: Promise<Schemas> | undefined;

async function read(): Promise<Schemas> {
  const [root, plugins] = await Promise.all([get<unknown>("/openapi.json"), get<{ items: PluginInfo[] }>("/plugins")]);
  return {
    root,
    plugins: plugins.items,
    of(name) {
      const components = isRecord(root) ? root.components : undefined;
      const schemas = isRecord(components) ? components.schemas : undefined;
      const found = isRecord(schemas) ? schemas[name] : undefined;
      return isRecord(found) ? (found as Schema) : {};
    },
  };
}

export function schemas(): Promise<Schemas> {
  reading ??= read().catch((error: unknown) => {
    reading = undefined;
    throw error;
  });
  return reading;
}
