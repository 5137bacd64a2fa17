// What a kind of object is described by. The screens know no kind; they read this.

import type { Item, Stored } from "@/api/types";

export type Cell = "name" | "code" | "text" | "list" | "labels" | "number" | "time" | "on" | "yes" | "service" | "state" | "ends";

export interface Column {
  /** Where in the value, such as `details.names`; the item's name where it is empty. */
  field: string;
  cell: Cell;
  width?: number;
  isSortable?: boolean;
}

/** Fields that belong together. What no group names is under "more". */
export interface Group {
  /** A key of the texts `groups.*`. */
  title: string;
  fields: string[];
}

export interface Kind {
  /** Its place in the API. */
  path: string;
  /** The name of its schema in the API's description. */
  schema: string;
  /** Who names an object: who makes it, who makes it if they like, or what is in it. */
  naming: "given" | "optional" | "made";
  columns: Column[];
  /** Fields one may want to see only some values of. */
  filters: { field: string; values?: string[] }[];
  groups: Group[];
  /** What a new one begins with. */
  begin: () => Stored;
  /** The field by which it is on or off. */
  switch?: { field: string; on: unknown; off: unknown; isOffWhenAbsent?: boolean };
  /** The service whose editors may change it. Absent: only who may change everything. */
  service?: (name: string, value: Stored) => string | undefined;
  /** What people call one of it, where that is not its name. */
  title?: (item: Item) => string;
  /** It is there, as the defaults have it, when nothing is stored of it. */
  isImplied?: boolean;
  /** Parts of its screen that only it has. */
  parts?: ("plugins" | "plugin" | "nodes" | "certificate")[];
}

export function text(value: Stored, field: string): string | undefined {
  const found = value[field];
  return typeof found === "string" && found !== "" ? found : undefined;
}

/** A list of texts as the first gateway wrote them too: one text alone, and Lua's empty object for none. */
export function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return Array.isArray(value) ? value.map(String) : [];
}

/** The value at a dotted place. */
export function at(value: unknown, field: string): unknown {
  return field
    .split(".")
    .reduce<unknown>((found, part) => (typeof found === "object" && found !== null ? (found as Stored)[part] : undefined), value);
}
