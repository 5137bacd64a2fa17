// What the Admin API tells of what is going on: figures, services, gateways, the status. Shared by the overview and the topology.

import { get } from "./client";
import type { Action, Sums } from "./types";

export interface Figures {
  requests: number;
  errors: number;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
}

export interface Point extends Figures {
  /** Seconds since 1970. */
  at: number;
}

export interface Series {
  id: string;
  service: string | null;
  total: Figures;
  /** Without those that have no requests. */
  points: Point[];
}

export interface Shown {
  step: number;
  since: number;
  until: number;
  gateways: { id: string; hostname: string; missing: string | null }[];
  series: Series[];
}

export type NodeHealth = "healthy" | "unhealthy" | "ejected" | "on_trial";

export interface NodeState {
  node: string;
  address: string;
  weight: number;
  state: NodeHealth;
  since_seconds: number | null;
  why: string | null;
  in_flight: number;
  last_minute: Sums;
}

export interface ServiceState {
  name: string;
  nodes_total: number;
  nodes_up: number;
  in_flight: number;
  last_minute: Sums;
  nodes: NodeState[];
  /** Nodes that are to take no requests. */
  resting: { node: string; why: string }[];
}

export interface ListedGateway {
  id: string;
  self: boolean;
  hostname: string;
  version: string;
  uptime_seconds: number;
  ready: boolean;
  draining: boolean;
  lag: number;
  rejected: { count: number };
  silent_seconds: number | null;
  stale: boolean;
}

export interface LiveCertificate {
  id: string;
  hosts: string[];
  ends_in_seconds: number;
}

export interface RejectedObject {
  key: string;
  revision: number;
  reason: string;
  serving: string;
}

export interface Status {
  version: string;
  store: string;
  config: { connected: boolean; stale_seconds: number | null; outage: string | null };
  routes: number;
  services: number;
  certificates: LiveCertificate[];
  rejected: RejectedObject[];
  warnings: { service: string; reason: string }[];
}

export interface Revision {
  revision: number;
  /** Milliseconds since 1970. */
  time: number;
  author: { name: string; origin: string };
  reason: string | null;
  changes: { kind: string; name: string; action: Action }[];
}

export type By = "total" | "route" | "service" | "node";

export function figures(query: { by?: By; since?: number; step?: number; limit?: number }, signal?: AbortSignal): Promise<Shown> {
  return get<Shown>("/figures", query, signal);
}

export async function serviceStates(signal?: AbortSignal): Promise<ServiceState[]> {
  return (await get<{ services: ServiceState[] }>("/state/services", {}, signal)).services;
}

export async function gateways(signal?: AbortSignal): Promise<ListedGateway[]> {
  return (await get<{ gateways: ListedGateway[] }>("/gateways", {}, signal)).gateways;
}

/** The share that failed; null without requests. */
export function errorRatio({ requests, errors }: Pick<Figures, "requests" | "errors">): number | null {
  return requests === 0 ? null : errors / requests;
}
