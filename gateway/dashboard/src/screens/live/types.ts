// A request as `GET /admin/v2/requests` tells of it.

export type HeaderLine = [name: string, value: string];

export interface Head {
  method?: string;
  target?: string;
  headers: HeaderLine[];
  truncated: boolean;
}

export interface Try {
  node: string;
  status: number | null;
  error?: string;
  time_ms: number;
}

export interface LiveRequest {
  id: number;
  time: string;
  client: string | null;
  host: string | null;
  protocol: string;
  trace_id: string | null;
  route: string | null;
  service: string | null;
  received: Head;
  sent: Head | null;
  tries: Try[];
  status: number | null;
  response: Head | null;
  bytes: number;
  timings: { total_ms: number; first_byte_ms: number | null; upstream_ms: number };
}

/** What the gateway shows in place of a secret. */
export const REDACTED = "[redacted]";

export function headerOf(head: Head | null, name: string): string | undefined {
  return head?.headers.find(([header]) => header.toLowerCase() === name)?.[1];
}

/** The request's URL, as far as it is known. */
export function urlOf(request: LiveRequest): string {
  const scheme = headerOf(request.sent, "x-forwarded-proto") === "https" ? "https" : "http";
  const target = request.received.target ?? "/";
  if (/^https?:\/\//i.test(target)) return target;
  return `${scheme}://${headerOf(request.received, "host") ?? request.host ?? "localhost"}${target}`;
}

export function toneOf(status: number | null): "good" | "odd" | "bad" {
  if (status === null || status >= 500) return "bad";
  return status >= 400 ? "odd" : "good";
}
