// Calls of the Admin API by the session's cookie. The one place that knows of the CSRF token, of a
// login that has ended, and of a gateway that cannot be reached.

import { useConnection } from "@/stores/connection";
import { useSession } from "@/stores/session";
import { Problem, Unreachable } from "./problem";

export const BASE = "/admin/v2";
/** As many as the API gives at once. */
export const LONGEST_PAGE = 10_000;
const PATIENCE_MS = 30_000;

export interface Call {
  query?: Record<string, string | number | boolean | string[] | undefined>;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as it is. */
  text?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** A 401 is this call's own affair, as that of a login. */
  isLogin?: boolean;
  /** Its answer does not end. */
  isStream?: boolean;
}

export interface Answer<T> {
  body: T;
  etag: string | undefined;
  status: number;
}

/** The path of an object: each part may have any character. */
export function at(...parts: string[]): string {
  return parts.map((part) => `/${encodeURIComponent(part)}`).join("");
}

export function url(path: string, query: Call["query"] = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  const text = search.toString();
  return `${BASE}${path}${text === "" ? "" : `?${text}`}`;
}

/** Asks, and returns the answer with its body still to be read; what is refused is thrown as a `Problem`. */
export async function ask(method: string, path: string, options: Call = {}): Promise<Response> {
  const session = useSession();
  const headers = new Headers(options.headers);
  if (options.body !== undefined) headers.set("Content-Type", "application/json");
  const send = () => {
    if (method !== "GET" && session.csrf) headers.set("X-CSRF-Token", session.csrf);
    return reach(url(path, options.query), {
      method,
      headers,
      body: options.text ?? (options.body === undefined ? undefined : JSON.stringify(options.body)),
      signal: method === "GET" && !options.isStream ? within(options.signal) : options.signal,
      credentials: "same-origin",
    }, options.signal);
  };
  let answer = await send();
  if (answer.status === 403 && method !== "GET" && !options.isLogin) {
    // Another tab may have logged in anew, and the cookie has another token since.
    const used = session.csrf;
    await session.resume();
    if (session.csrf !== used) answer = await send();
  }
  if (answer.ok) return answer;
  const problem = await Problem.of(answer);
  if (answer.status === 401 && !options.isLogin) session.ended();
  throw problem;
}

export async function call<T>(method: string, path: string, options: Call = {}): Promise<Answer<T>> {
  const answer = await ask(method, path, options);
  return {
    body: (await content(answer)) as T,
    // A proxy that compresses makes it a weak one, which no condition takes.
    etag: answer.headers.get("ETag")?.replace(/^W\//, ""),
    status: answer.status,
  };
}

async function content(answer: Response): Promise<unknown> {
  if (answer.status === 204) return undefined;
  const isJson = answer.headers.get("Content-Type")?.includes("json") ?? false;
  return isJson ? answer.json() : answer.text();
}

/** What is read is waited for so long: a network that swallows everything never says so. */
function within(signal?: AbortSignal): AbortSignal {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  return signal ? AbortSignal.any([signal, patience]) : patience;
}

async function reach(target: string, init: RequestInit, given: AbortSignal | undefined): Promise<Response> {
  const connection = useConnection();
  try {
    const answer = await fetch(target, init);
    connection.reached();
    return answer;
  } catch (error) {
    if (given?.aborted) throw error;
    connection.lost();
    throw new Unreachable(error);
  }
}

export async function get<T>(path: string, query?: Call["query"], signal?: AbortSignal): Promise<T> {
  return (await call<T>("GET", path, { query, signal })).body;
}
