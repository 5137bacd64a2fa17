// What a plugin would do, as lines for people.

import type { Effects, HeaderChanges } from "./types";

export interface Line {
  /** A key below `explain.effect`. */
  key: string;
  name?: string;
  status?: number;
  value?: string;
  isBad?: boolean;
}

function ofHeaders(changes: HeaderChanges | undefined, suffix: "" | "Upstream"): Line[] {
  if (!changes) return [];
  return [
    ...Object.entries(changes.set).map(([name, values]) => ({ key: `sets${suffix}`, name, value: values.join(", ") })),
    ...changes.removed.map((name) => ({ key: `removes${suffix}`, name })),
  ];
}

export function lines(effects: Effects): Line[] {
  const found: Line[] = [];
  if (effects.path !== undefined) found.push({ key: "path", value: effects.path });
  if (effects.query !== undefined) found.push(effects.query === "" ? { key: "noQuery" } : { key: "query", value: effects.query });
  found.push(...ofHeaders(effects.headers, ""), ...ofHeaders(effects.upstream_headers, "Upstream"));
  if (effects.prefers) found.push({ key: "prefers", value: effects.prefers });
  if (effects.excludes?.length) found.push({ key: "excludes", value: effects.excludes.join(", ") });
  if (effects.response) found.push({ key: "answers", status: effects.response.status, value: effects.response.body || undefined });
  if (effects.panics) found.push({ key: "panics", value: effects.panics, isBad: true });
  if (effects.timed_out) found.push({ key: "timedOut", isBad: true });
  return found;
}
