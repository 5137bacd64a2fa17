// What `GET /admin/v2/events` tells of.

interface Base {
  id: number;
  /** RFC 3339; absent of what was missed. */
  time?: string;
}

export interface ConfigEvent extends Base {
  type: "config";
  /** A kind of object, or `all`, or `more`. */
  kind: string;
  object?: string;
  change?: "put" | "deleted";
  revision?: number;
  applied?: boolean;
  reason?: string;
  serving?: string;
  /** How many, of `all` and `more`. */
  objects?: number;
  rejected?: number;
}

export interface NodeEvent extends Base {
  type: "node";
  service: string;
  node: string;
  from: string;
  to: string;
  why: string;
}

export interface StoreEvent extends Base {
  type: "store";
  connected: boolean;
  why?: string;
  outage_seconds?: number;
}

export interface PanicEvent extends Base {
  type: "plugin_panic";
  plugin: string;
  reason: string;
}

export interface GatewayEvent extends Base {
  type: "gateway";
  change: "joined" | "left";
  gateway: string;
  hostname: string;
}

export interface MissedEvent extends Base {
  type: "missed";
  count: number | null;
}

export type GatewayEventAny = ConfigEvent | NodeEvent | StoreEvent | PanicEvent | GatewayEvent | MissedEvent;

/** What may be chosen; what was missed is always shown. */
export const TYPES = ["config", "node", "store", "plugin_panic", "gateway"] as const;
export type EventType = (typeof TYPES)[number];

export type EventTone = "good" | "bad" | "odd" | "plain";

export function toneOfEvent(event: GatewayEventAny): EventTone {
  switch (event.type) {
    case "config":
      return event.applied === false || (event.rejected ?? 0) > 0 ? "bad" : "plain";
    case "node":
      return event.to === "healthy" ? "good" : "bad";
    case "store":
      return event.connected ? "good" : "bad";
    case "plugin_panic":
      return "bad";
    case "gateway":
      return event.change === "joined" ? "good" : "odd";
    case "missed":
      return "odd";
  }
}
