// What is not well with services and their nodes, the worst first.

import type { NodeState, ServiceState } from "@/api/live";
import type { Tone } from "@/components/StateTag.vue";

export interface Sick {
  service: string;
  up: number;
  total: number;
  nodes: NodeState[];
}

export const NODE_TONES: Record<NodeState["state"], Tone> = {
  healthy: "good",
  unhealthy: "bad",
  ejected: "bad",
  on_trial: "odd",
};

export function isWell(service: ServiceState): boolean {
  return service.nodes_total > 0 && service.nodes_up === service.nodes_total;
}

export function sickOf(services: ServiceState[]): Sick[] {
  return services
    .filter((service) => !isWell(service) || service.nodes.some((node) => node.state !== "healthy"))
    .map((service) => ({
      service: service.name,
      up: service.nodes_up,
      total: service.nodes_total,
      nodes: service.nodes.filter((node) => node.state !== "healthy"),
    }))
    .sort((a, b) => a.up / (a.total || 1) - b.up / (b.total || 1) || a.service.localeCompare(b.service));
}
