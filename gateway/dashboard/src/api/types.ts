// What the Admin API answers, as far as more than one screen reads it. The whole is in /admin/v2/openapi.json.

export type Action = "create" | "update" | "delete";

export interface Field {
  path: string;
  before?: unknown;
  after?: unknown;
}

export interface Change {
  kind: string;
  name: string;
  action: Action;
  fields?: Field[];
}

/** The answer to a write of one object. */
export interface Saved {
  name: string;
  revision: number;
  changed: boolean;
  changes: Change[];
  warnings: string[];
  undone_at?: number;
}

/** The answer to a document. */
export interface Applied {
  revision: number;
  changed: boolean;
  changes: Change[];
  warnings: { kind: string; name: string; warnings: string[] }[];
  undone_at?: number;
}

export type Stored = Record<string, unknown>;

export interface Item {
  name: string;
  etag: string;
  /** A service registered it itself, and keeps it. */
  registered: boolean;
  value: Stored;
}

export interface Page {
  revision: number;
  total: number;
  items: Item[];
}

export interface Pending {
  revision: number;
  /** Milliseconds since 1970. */
  until: number;
  keys: string[];
}

/** Figures over some time. */
export interface Sums {
  requests: number;
  errors: number;
  error_rate: number | null;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
}

export interface PluginInfo {
  name: string;
  description: string;
  version: string;
  priority: number;
  phases: string[];
  schema: unknown;
}
