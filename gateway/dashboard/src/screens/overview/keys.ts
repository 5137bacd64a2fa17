// The object a store's key is of, as far as the panel has a place for it.

import { kindOf } from "@/kinds";

export interface Place {
  kind: string;
  name: string;
}

export function placeOf(key: string): Place | undefined {
  const parts = key.split("/").filter((part) => part !== "");
  const from = parts.findIndex((part) => kindOf(part) !== undefined);
  const name = parts.slice(from + 1).join("/");
  const kind = parts[from];
  return from === -1 || kind === undefined || name === "" ? undefined : { kind, name };
}
