// What a description of a kind of object says. The list and the editor read it; nothing else knows of kinds.

import type { Item, Stored } from "@/api/types";
import type { Tone } from "@/components/StateTag.vue";

export type Shown =
  | { as: "text"; text: string }
  | { as: "code"; text: string }
  | { as: "codes"; texts: string[] }
  | { as: "link"; kind: string; name: string }
  /** `text` is a key of the texts. */
  | { as: "state"; text: string; tone: Tone; values?: Record<string, unknown> };

export interface Column {
  /** The field's path; also what it is sorted by. */
  field: string;
  isSortable?: boolean;
  show(item: Item): Shown;
}

export interface Filter {
  field: string;
  /** The values to choose from, each named by `objects.<field>.<value>` or itself; anything may be typed when absent. */
  values?: string[];
}

export interface Group {
  /** A key of the texts. */
  title: string;
  fields: string[];
}

export interface Kind {
  id: string;
  /** The name of its schema in the API's description. */
  schema: string;
  columns: Column[];
  filters: Filter[];
  /** Fields in the form, in their order. What the schema has beside them comes last, under "Advanced". */
  groups: Group[];
  /** A new one. */
  begin(): Stored;
  /** How a new one gets its name. */
  naming: "required" | "optional" | "plugin" | "node";
  /** Whether it can be switched on and off by `status`; and whether it is on when nothing is said. */
  hasSwitch?: { isOnByDefault: boolean };
  /** Whether one may be in use without being declared, as a service that has nodes only. */
  mayBeUndeclared?: boolean;
  /** The service it belongs to, on which it depends who may change it. */
  service?(name: string, value: Stored): string;
  /** Fields drawn by a component of their own instead of the schema's form. */
  special?: Record<string, "plugins" | "plugin-config" | "pem" | "service" | "hidden">;
  /** Fields that the server adds to what it shows, and that are not sent back. */
  shownOnly?: string[];
}

export const text = (value: unknown): Shown => ({ as: "text", text: value == null ? "–" : String(value) });
export const code = (value: unknown): Shown => ({ as: "code", text: value == null ? "–" : String(value) });
export function codes(value: unknown): Shown {
  return { as: "codes", texts: Array.isArray(value) ? value.map(String) : [] };
}
export const asText = (value: unknown): string => (typeof value === "string" ? value : "");

export function isOn(kind: Kind, value: Stored): boolean {
  return value.status === undefined ? (kind.hasSwitch?.isOnByDefault ?? true) : value.status === 1;
}
