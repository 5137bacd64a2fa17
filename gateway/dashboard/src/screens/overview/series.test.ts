import { expect, test } from "vitest";
import { linesOf } from "./series";

test("steps without requests are shown as such, and the one that runs is not", () => {
  const figures = { requests: 20, errors: 5, p50_ms: 1, p95_ms: 2, p99_ms: 3 };
  const point = (at: number) => ({ at, ...figures });
  const series = [{ id: "total", service: null, total: figures, points: [point(110), point(130)] }];
  const lines = linesOf({ step: 10, since: 100, until: 135, gateways: [], series });
  expect(lines.times).toEqual([100, 110, 120]);
  expect(lines.rate).toEqual([0, 2, 0]);
  expect(lines.errors).toEqual([0, 0.5, 0]);
  expect(lines.p95).toEqual([null, 2, null]);
});

test("without any requests the lines lie at nothing", () => {
  expect(linesOf({ step: 10, since: 0, until: 20, gateways: [], series: [] }).rate).toEqual([0, 0]);
});
