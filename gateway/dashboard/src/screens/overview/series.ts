// Makes lines of the points of a series: the API leaves steps without requests out, a chart shows them.

import type { Point, Shown } from "@/api/live";

export interface Lines {
  times: number[];
  /** Requests and errors a second. */
  rate: number[];
  errors: number[];
  p50: (number | null)[];
  p95: (number | null)[];
  p99: (number | null)[];
}

/** Of the first series; the step that has not ended yet would look like a fall, and is left out. */
export function linesOf(shown: Shown): Lines {
  const points = new Map<number, Point>(shown.series[0]?.points.map((point) => [point.at, point]) ?? []);
  const lines: Lines = { times: [], rate: [], errors: [], p50: [], p95: [], p99: [] };
  for (let at = shown.since; at + shown.step <= shown.until; at += shown.step) {
    const point = points.get(at);
    lines.times.push(at);
    lines.rate.push((point?.requests ?? 0) / shown.step);
    lines.errors.push((point?.errors ?? 0) / shown.step);
    lines.p50.push(point?.p50_ms ?? null);
    lines.p95.push(point?.p95_ms ?? null);
    lines.p99.push(point?.p99_ms ?? null);
  }
  return lines;
}
