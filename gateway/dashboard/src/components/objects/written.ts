// An object as text, for the clipboard and the editor.

import { stringify } from "yaml";
import type { Stored } from "@/api/types";
import { at, url } from "@/api/client";
import type { Kind } from "@/kinds/kind";

export function sent(kind: Kind, value: Stored): Stored {
  return Object.fromEntries(Object.entries(value).filter(([field]) => !kind.shownOnly?.includes(field)));
}

/** As a document that can be imported. */
export function asYaml(kind: Kind, name: string, value: Stored): string {
  return stringify({ [kind.id]: { [name]: sent(kind, value) } });
}

/** As a call that makes it so. The token is left to the shell. */
export function asCurl(kind: Kind, name: string, value: Stored): string {
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  const target = new URL(url(at(kind.id, name)), location.href).href;
  return [
    `curl -X PUT ${quoted(target)}`,
    `-H "X-Api-Token: $TOKEN" -H 'If-Match: *' -H 'Content-Type: application/json'`,
    `-d ${quoted(JSON.stringify(sent(kind, value)))}`,
  ].join(" \\\n  ");
}
