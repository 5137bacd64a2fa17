import { expect, test } from "vitest";
import type { ServiceState } from "@/api/live";
import { busiest, filtered, groupsOf, MOST_NODES, MOST_ROUTES } from "./graph";
import { layOut } from "./layout";

const route = (name: string, service: string, status = 1) => ({
  name,
  etag: "",
  registered: false,
  value: { prefix: `/${name}/*`, service_name: service, status },
});
const sums = { requests: 0, errors: 0, error_rate: null, p50_ms: null, p95_ms: null, p99_ms: null };
const node = (name: string, state: "healthy" | "unhealthy" = "healthy") => ({
  node: name, address: name, weight: 1, state, since_seconds: null, why: null, in_flight: 0, last_minute: sums,
});
const service = (name: string, nodes: ReturnType<typeof node>[]): ServiceState => ({
  name, nodes, nodes_total: nodes.length, nodes_up: nodes.filter((one) => one.state === "healthy").length,
  in_flight: 0, last_minute: sums, resting: [],
});
const series = (id: string, of: string, requests: number) => ({
  id, service: of, total: { requests, errors: 0, p50_ms: null, p95_ms: null, p99_ms: null }, points: [],
});
const quiet = { routes: [], services: [], nodes: [] };

test("services come by their traffic, and say how they are", () => {
  const states = [service("a", [node("1"), node("2", "unhealthy")]), service("b", [node("3")])];
  const groups = groupsOf([route("x", "a"), route("y", "b"), route("z", "c", 0)], states, { ...quiet, services: [series("b", "b", 5)] });
  expect(groups.map((group) => [group.service.name, group.service.tone])).toEqual([["b", "good"], ["a", "odd"], ["c", "bad"]]);
  expect(groups[2]?.routes[0]?.tone).toBe("quiet");
  expect(groups[1]?.nodes[0]?.title).toBe("2");
});

test("of many routes the busiest are shown, of many nodes the rest is counted", () => {
  const routes = Array.from({ length: MOST_ROUTES + 1 }, (_, i) => route(`r${i}`, "a"));
  const nodes = Array.from({ length: MOST_NODES + 5 }, (_, i) => node(`n${i}`, i === 12 ? "unhealthy" : "healthy"));
  const busy = { ...quiet, routes: [series(`r${MOST_ROUTES}`, "a", 3)] };
  const [group] = busiest(groupsOf(routes, [service("a", nodes)], busy));
  expect(group?.routes).toHaveLength(MOST_ROUTES);
  expect(group?.routes[0]?.name).toBe(`r${MOST_ROUTES}`);
  expect(group?.nodes).toHaveLength(MOST_NODES);
  expect(group?.nodes[0]?.title).toBe("n12");
  expect(group?.nodes.at(-1)?.word.values).toEqual({ count: 6 });
});

test("a filter finds routes, services and nodes", () => {
  const groups = groupsOf([route("x", "a"), route("y", "a"), route("z", "b")], [service("b", [node("host:1")])], quiet);
  expect(filtered(groups, "/Y").map((group) => group.routes.map(({ name }) => name))).toEqual([["y"]]);
  expect(filtered(groups, "host")).toHaveLength(1);
  expect(filtered(groups, "nowhere")).toEqual([]);
});

test("boxes do not lie on each other, and each path is whole", () => {
  const groups = groupsOf([route("x", "a"), route("y", "a"), route("z", "b")], [service("a", [node("1")])], quiet);
  const { boxes, lines } = layOut(groups, 1000);
  const places = boxes.map(({ x, y }) => `${x} ${y}`);
  expect(new Set(places).size).toBe(boxes.length);
  expect(lines).toHaveLength(4);
  expect([...(boxes.find(({ id }) => id === "route x")?.path ?? [])]).toEqual(["route x", "service a", "node a 1"]);
});
