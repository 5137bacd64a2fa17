import { expect, test } from "vitest";
import { curl, redactedIn } from "./curl";
import { fromQuery, toQuery } from "./filter";
import type { LiveRequest } from "./types";
import { waterfall } from "./waterfall";

const request: LiveRequest = {
  id: 1,
  time: "2026-11-26T11:39:49.831Z",
  client: "127.0.0.1",
  host: "shop.test",
  protocol: "HTTP/1.1",
  trace_id: null,
  route: null,
  service: "s",
  received: {
    method: "POST",
    target: "/a?token=[redacted]&b=it's",
    headers: [["Host", "shop.test:8080"], ["Authorization", "[redacted]"], ["Content-Length", "3"], ["X-A", "1\u001b[31m"], ["X-Empty", ""]],
    truncated: false,
  },
  sent: { method: "POST", target: "/a", headers: [["x-forwarded-proto", "https"]], truncated: false },
  tries: [{ node: "127.0.0.1:1", status: null, error: "refused", time_ms: 1 }, { node: "127.0.0.1:2", status: 200, time_ms: 4 }],
  status: 200,
  response: null,
  bytes: 3,
  timings: { total_ms: 10, first_byte_ms: 6, upstream_ms: 5 },
};
const notes = { redacted: "fill in", body: "no body", truncated: "cut" };

test("a command has what was received, safe for a shell, and says what is missing", () => {
  expect(redactedIn(request)).toBe(2);
  expect(curl(request, notes).split("\n")).toEqual([
    "# fill in",
    "# no body",
    `curl --globoff --path-as-is -X POST 'https://shop.test:8080/a?token=[redacted]&b=it'\\''s' \\`,
    `  -H 'Authorization: [redacted]' \\`,
    `  -H 'X-A: 1[31m' \\`,
    `  -H 'X-Empty;'`,
  ]);
});

test("the bars fill the time of the request", () => {
  expect(waterfall(request)).toEqual([
    { kind: "gateway", ms: 1, from: 0, width: 10 },
    { kind: "try", attempt: 1, ms: 1, from: 10, width: 10 },
    { kind: "try", attempt: 2, ms: 4, from: 20, width: 40 },
    { kind: "body", ms: 4, from: 60, width: 40 },
  ]);
  const refused = { ...request, tries: [], timings: { total_ms: 2, first_byte_ms: null, upstream_ms: 0 } };
  expect(waterfall(refused)).toEqual([{ kind: "gateway", ms: 2, from: 0, width: 100 }]);
});

test("a filter survives a link", () => {
  const filter = fromQuery({ service: "s", status: "5xx", route: ["a", "b"] });
  expect(toQuery(filter)).toEqual({ service: "s", status: "5xx" });
  expect(toQuery({ ...filter, path: " /a " })).toEqual({ service: "s", status: "5xx", path: "/a" });
});
