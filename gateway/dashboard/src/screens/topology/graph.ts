// What the topology is made of: routes, the services they lead to, and their nodes, with health and traffic.

import type { NodeState, Series, ServiceState } from "@/api/live";
import type { Item } from "@/api/types";
import type { Tone } from "@/components/StateTag.vue";
import { routeTitle } from "../overview/names";

export type Layer = "route" | "service" | "node";

/** A word of the texts, with what it tells. */
export interface Word {
  key: string;
  values?: Record<string, number>;
}

export interface Box {
  id: string;
  layer: Layer;
  /** The object's name; a service for its nodes. */
  name: string;
  title: string;
  tone: Tone;
  word: Word;
  requests: number;
}

export interface Group {
  service: Box;
  routes: Box[];
  nodes: Box[];
}

export interface Traffic {
  routes: Series[];
  services: Series[];
  nodes: Series[];
}

export const MOST_ROUTES = 100;
/** Nodes drawn of each service; the rest is counted. */
export const MOST_NODES = 8;

const NODE_TONES: Record<NodeState["state"], Tone> = { healthy: "good", unhealthy: "bad", ejected: "bad", on_trial: "odd" };

export function serviceOf(route: Item): string {
  return typeof route.value.service_name === "string" ? route.value.service_name : "";
}

/** Services with their routes and nodes, the busiest first. */
export function groupsOf(routes: Item[], states: ServiceState[], traffic: Traffic): Group[] {
  const ofRoutes = counts(traffic.routes, (one) => one.id);
  const ofServices = counts(traffic.services, (one) => one.id);
  const ofNodes = counts(traffic.nodes, (one) => `${one.service ?? ""} ${one.id}`);
  const known = new Map(states.map((state) => [state.name, state]));
  const requests = (route: Item) => ofRoutes.get(route.name) ?? 0;
  const groups = new Map<string, Group>();
  for (const route of [...routes].sort((a, b) => requests(b) - requests(a))) {
    const name = serviceOf(route);
    let group = groups.get(name);
    if (!group) {
      const state = known.get(name);
      group = { service: serviceBox(name, state, ofServices.get(name) ?? 0), routes: [], nodes: nodeBoxes(name, state, ofNodes) };
      groups.set(name, group);
    }
    group.routes.push(routeBox(route, requests(route)));
  }
  return [...groups.values()].sort((a, b) => b.service.requests - a.service.requests || a.service.name.localeCompare(b.service.name));
}

function counts(series: Series[], key: (one: Series) => string): Map<string, number> {
  const found = new Map<string, number>();
  for (const one of series) found.set(key(one), (found.get(key(one)) ?? 0) + one.total.requests);
  return found;
}

function routeBox(route: Item, requests: number): Box {
  const isOn = route.value.status === 1;
  return {
    id: `route ${route.name}`,
    layer: "route",
    name: route.name,
    title: routeTitle(route.value) ?? route.name,
    tone: isOn ? "good" : "quiet",
    word: { key: isOn ? "topology.on" : "topology.off" },
    requests,
  };
}

function serviceBox(name: string, state: ServiceState | undefined, requests: number): Box {
  const up = state?.nodes_up ?? 0;
  const all = state?.nodes_total ?? 0;
  const [tone, word]: [Tone, Word] =
    all === 0
      ? ["bad", { key: "topology.noNodes" }]
      : up === 0
        ? ["bad", { key: "topology.down" }]
        : up < all
          ? ["odd", { key: "topology.partly", values: { some: up, all } }]
          : ["good", { key: "topology.healthy" }];
  return { id: `service ${name}`, layer: "service", name, title: name, tone, word, requests };
}

function nodeBoxes(service: string, state: ServiceState | undefined, traffic: Map<string, number>): Box[] {
  if (!state) return [];
  const box = (title: string, tone: Tone, word: Word): Box => ({
    id: `node ${service} ${title}`,
    layer: "node",
    name: service,
    title,
    tone,
    word,
    requests: traffic.get(`${service} ${title}`) ?? 0,
  });
  // Those that are not well must not be among the rest.
  const worst = (tone: Tone) => (tone === "good" ? 1 : 0);
  const boxes = [
    ...state.nodes.map((node) => box(node.node, NODE_TONES[node.state], { key: `overview.nodes.${node.state}` })),
    ...state.resting.map((node) => box(node.node, "quiet", { key: "topology.resting" })),
  ].sort((a, b) => worst(a.tone) - worst(b.tone) || b.requests - a.requests);
  const all = Math.max(boxes.length, state.nodes_total + state.resting.length);
  if (all <= MOST_NODES) return boxes;
  const shown = boxes.slice(0, MOST_NODES - 1);
  const rest: Box = {
    id: `node ${service} …`,
    layer: "node",
    name: service,
    title: "…",
    tone: "plain",
    word: { key: "topology.many", values: { count: all - shown.length } },
    requests: boxes.slice(MOST_NODES - 1).reduce((sum, one) => sum + one.requests, 0),
  };
  return [...shown, rest];
}

/** The groups in which something is called so; all of a group when it is the service. */
export function filtered(groups: Group[], text: string): Group[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return groups;
  const has = (box: Box) => box.title.toLowerCase().includes(wanted) || box.name.toLowerCase().includes(wanted);
  return groups.flatMap((group) => {
    if (has(group.service) || group.nodes.some((node) => node.title.toLowerCase().includes(wanted))) return [group];
    const routes = group.routes.filter(has);
    return routes.length === 0 ? [] : [{ ...group, routes }];
  });
}

export function routesIn(groups: Group[]): number {
  return groups.reduce((sum, group) => sum + group.routes.length, 0);
}

/** Of the routes only the busiest, the first of equals. */
export function busiest(groups: Group[]): Group[] {
  if (routesIn(groups) <= MOST_ROUTES) return groups;
  const routes = groups.flatMap((group) => group.routes).sort((a, b) => b.requests - a.requests);
  const kept = new Set(routes.slice(0, MOST_ROUTES));
  return groups
    .map((group) => ({ ...group, routes: group.routes.filter((route) => kept.has(route)) }))
    .filter((group) => group.routes.length > 0);
}
