// The timings of a request as bars along its time.

import type { LiveRequest } from "./types";

export interface Bar {
  kind: "gateway" | "try" | "body" | "rest";
  /** The number of a try, from 1. */
  attempt?: number;
  ms: number;
  /** Where it begins and how long it is, in hundredths of the whole. */
  from: number;
  width: number;
}

/**
 * Tries are told by how long they took, not when they began: they are laid one after another before the
 * first byte, and what is left before them is the gateway's.
 */
export function waterfall({ tries, timings }: LiveRequest): Bar[] {
  const total = Math.max(timings.total_ms, 0.001);
  const tried = tries.reduce((sum, { time_ms }) => sum + time_ms, 0);
  const head = timings.first_byte_ms ?? (tries.length > 0 ? tried : total);
  const before = Math.max(0, head - tried);
  const parts: Omit<Bar, "from" | "width">[] = [{ kind: "gateway", ms: before }];
  tries.forEach(({ time_ms }, index) => parts.push({ kind: "try", attempt: index + 1, ms: time_ms }));
  const left = Math.max(0, timings.total_ms - before - tried);
  if (tries.length > 0) parts.push({ kind: timings.first_byte_ms === null ? "rest" : "body", ms: left });
  let at = 0;
  return parts
    .filter(({ ms, kind }) => ms > 0 || kind === "try")
    .map((part) => {
      const from = Math.min(100, (at / total) * 100);
      at += part.ms;
      return { ...part, from, width: Math.min(100 - from, (part.ms / total) * 100) };
    });
}
