// What POST /admin/v2/explain answers. The chapter "Why does this request go there?" of README.md says what it means.

export type Outcome = "forwarded" | "answered" | "refused" | "admin" | "unknown";
export type Lost = "chosen" | "outranked" | "disabled" | "host" | "method" | "header" | "query";

export interface Candidate {
  route: string;
  pattern: string;
  host: string;
  priority: number;
  conditions: number;
  service: string;
  outcome: Lost;
  detail: string;
  broken: boolean;
  rejected?: string;
}

export interface HeaderChanges {
  set: Record<string, string[]>;
  removed: string[];
}

export interface Effects {
  path?: string;
  query?: string;
  headers?: HeaderChanges;
  upstream_headers?: HeaderChanges;
  response?: { status: number; headers: Record<string, string[]>; body: string };
  prefers?: string;
  excludes?: string[];
  panics?: string;
  timed_out?: boolean;
}

export interface Plugin {
  name: string;
  source: "route" | "global";
  priority: number;
  phases: string[];
  settings: unknown;
  ran: boolean;
  effects: Effects;
}

export interface Node {
  key: string;
  declared: string;
  address: string | null;
  weight: number;
  state: "enabled" | "drained" | "disabled";
  health: "healthy" | "unhealthy" | "ejected" | "unknown";
  health_reason?: string;
  in_flight: number;
}

export interface Choice {
  kind: "node" | "one_of" | "wait" | "full" | "nobody";
  nodes: string[];
}

export interface Service {
  name: string;
  state: "ready" | "none" | "empty" | "broken";
  balancer?: string;
  has_hash_key?: boolean;
  nodes: Node[];
  nodes_left_out?: number;
  choice?: Choice;
  timeouts?: Record<string, string | null>;
  retry?: {
    max_tries: number;
    on: { connect: boolean; reset: boolean; timeout: boolean; statuses: number[] };
    within: string;
    budget: number;
  };
}

export interface Upstream {
  node: string;
  protocol: string;
  tls?: { server_name: string; verify: boolean; client_certificate: boolean };
  proxy_protocol?: string;
  method: string;
  target: string;
  headers: Record<string, string[]>;
}

export interface Explanation {
  revision: number;
  request: {
    method: string;
    host: string;
    path: string | null;
    query: string | null;
    tls: boolean;
    peer: string;
    client_ip: string;
    carriage: "http" | "grpc" | "web_socket";
  };
  outcome: Outcome;
  status?: number;
  reason?: string;
  route: string | null;
  candidates: Candidate[];
  candidates_left_out?: number;
  plugins: Plugin[];
  service: Service | null;
  upstream: Upstream | null;
  why: string[];
}

export type Differing = "outcome" | "reason" | "route" | "candidates" | "plugins" | "service" | "upstream";

export interface Answer extends Explanation {
  change?: { path: string; deletes: boolean };
  differs?: Differing[];
  without_change?: Explanation;
}
