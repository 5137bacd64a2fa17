// Which requests are watched: as it is typed, and as it is in a link.

import type { LocationQuery } from "vue-router";

export const PARTS = ["route", "service", "status", "method", "path", "min_latency_ms", "client", "trace_id"] as const;
export type Part = (typeof PARTS)[number];
export type Filter = Record<Part, string>;

export function fromQuery(query: LocationQuery): Filter {
  const one = (part: Part) => {
    const value = query[part];
    return typeof value === "string" ? value : "";
  };
  return Object.fromEntries(PARTS.map((part) => [part, one(part)])) as Filter;
}

/** Without what is empty. */
export function toQuery(filter: Filter): Record<string, string> {
  const entries = PARTS.map((part) => [part, filter[part].trim()] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== ""));
}
