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
  const document = { [kind]: Object.fromEntries(objects.map(({ name, value }) => [name, declared(value, kind)])) };
  // Texts such as `no` are quoted: readers of YAML 1.1 take them for something else.
  return stringify(document, { compat: "yaml-1.1" });
}

/** A call for the shell that stores it: over what is there, or as a new one, which may have no name yet. */
export function asCurl(kind: string, name: string, value: Stored, isNew: boolean): string {
  const quoted = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const place = name === "" ? at(kind) : at(kind, name);
  const lines = [`curl -X ${name === "" ? "POST" : "PUT"} ${quoted(`${location.origin}${BASE}${place}`)}`, `-H "X-Api-Token: $GATEWAY_TOKEN"`];
  if (name !== "") lines.push(isNew ? "-H 'If-None-Match: *'" : "-H 'If-Match: *'");
  lines.push(`-d ${quoted(JSON.stringify(declared(value, kind)))}`);
  return lines.join(" \\\n  ");
}
