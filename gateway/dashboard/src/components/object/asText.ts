// An object as other tools take it: a document for `apply`, or a call.

import { stringify } from "yaml";
import { at, BASE } from "@/api/client";
import type { Stored } from "@/api/types";

/** What the gateway adds to an object by itself, and takes from no one. */
const ADDED = ["key", "time", "details"];

/** An object without what the gateway adds. */
export function declared(value: Stored, kind: string): Stored {
  const isStamped = kind === "routes" || kind === "nodes";
  const added = isStamped ? ADDED : ["details"];
  return Object.fromEntries(Object.entries(value).filter(([name]) => !added.includes(name)));
}

/** A document that `ws-cloud-gateway apply` takes. */
export function asYaml(kind: string, objects: { name: string; value: Stored }[]): string {
  return stringify({ [kind]: Object.fromEntries(objects.map(({ name, value }) => [name, declared(value, kind)])) });
}

/** A call for the shell. */
export function asCurl(method: string, kind: string, name: string, value: Stored | undefined): string {
  const quoted = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const lines = [`curl -X ${method} ${quoted(`${location.origin}${BASE}${at(kind, name)}`)}`, `-H "X-Api-Token: $GATEWAY_TOKEN"`];
  if (value) lines.push("-H 'If-Match: *'", `-d ${quoted(JSON.stringify(declared(value, kind)))}`);
  return lines.join(" \\\n  ");
}
