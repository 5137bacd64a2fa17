// An object as it was, out of what it is and the fields in which it differed since.

import type { Field } from "@/api/types";

type Tree = Record<string, unknown>;

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The name of the field that a path begins with, and the rest; names may have dots themselves. */
function split(tree: Tree, path: string): [string, string | undefined] {
  const names = Object.keys(tree).filter((name) => path === name || path.startsWith(`${name}.`));
  const longest = names.sort((a, b) => b.length - a.length)[0];
  if (longest !== undefined) return [longest, path === longest ? undefined : path.slice(longest.length + 1)];
  const dot = path.indexOf(".");
  return dot < 0 ? [path, undefined] : [path.slice(0, dot), path.slice(dot + 1)];
}

function put(tree: Tree, path: string, value: unknown) {
  const [name, rest] = split(tree, path);
  if (rest !== undefined && isTree(tree[name])) return put(tree[name], rest, value);
  // What is not there has no inside: the path is the name, dots and all.
  const own = rest === undefined ? name : path;
  if (value === undefined) delete tree[own];
  else tree[own] = value;
}

/** What it was before these fields became what they are. */
export function undone(now: unknown, fields: Field[]): unknown {
  let before: unknown = structuredClone(now);
  for (const field of fields) {
    if (field.path === "") before = structuredClone(field.before ?? undefined);
    else if (isTree(before)) put(before, field.path, structuredClone(field.before));
  }
  return before;
}

/** Only the fields that differ, where the whole is not known. */
export function part(fields: Field[], which: "before" | "after"): Tree {
  const known = fields.filter((field) => field[which] !== undefined);
  return Object.fromEntries(known.map((field) => [field.path || "*", field[which]]));
}
