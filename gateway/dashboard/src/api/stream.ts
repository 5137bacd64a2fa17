// Server-sent events of the Admin API. Comes back by itself after a lost connection, goes on where it
// was, and tells of it. By fetch, as the browser's own EventSource does not say why it was refused.

import { ask, type Call } from "./client";
import { Problem } from "./problem";
import { parser } from "./sse";

export type StreamState = "connecting" | "open" | "closed";

export interface Stream {
  close(): void;
}

export interface StreamOptions {
  /** The events since this one come first. */
  after?: string;
  /** What the gateway answered in place of events. What it may answer otherwise later is tried again. */
  refused?: (problem: Problem) => void;
}

const AGAIN_MS = 2000;
/** The gateway sends something every 15 s. Without it for so long, the connection is gone, whatever the system says. */
const SILENT_MS = 45_000;
/** Refused for what was asked, not for how things are: it is of no use to ask again. */
const FOR_GOOD = [400, 403, 404, 422];

/** Listens to events of these names until it is closed. What is no JSON is left out. */
export function listen(
  path: string,
  query: Call["query"],
  names: string[],
  heard: (data: unknown, name: string, id: string) => void,
  changed: (state: StreamState) => void = () => {},
  options: StreamOptions = {},
): Stream {
  const over = new AbortController();
  let last = options.after ?? "";
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function once() {
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (last !== "") headers["Last-Event-ID"] = last;
    const silent = new AbortController();
    let watch = setTimeout(() => silent.abort(), SILENT_MS);
    try {
      const answer = await ask("GET", path, { query, headers, signal: AbortSignal.any([over.signal, silent.signal]), isStream: true });
      changed("open");
      const take = parser();
      const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader?.read(); piece?.value !== undefined; piece = await reader?.read()) {
        clearTimeout(watch);
        watch = setTimeout(() => silent.abort(), SILENT_MS);
        for (const message of take(piece.value)) {
          if (message.id !== "") last = message.id;
          if (names.includes(message.name) && !over.signal.aborted) tell(message.name, message.data, message.id);
        }
      }
    } finally {
      clearTimeout(watch);
    }
  }

  function tell(name: string, data: string, id: string) {
    try {
      heard(JSON.parse(data), name, id);
    } catch (error) {
      console.warn("an event that cannot be read", name, error);
    }
  }

  async function begin() {
    changed("connecting");
    try {
      await once();
    } catch (error) {
      if (over.signal.aborted) return;
      if (error instanceof Problem) {
        options.refused?.(error);
        if (FOR_GOOD.includes(error.status)) return changed("closed");
      }
    }
    if (over.signal.aborted) return;
    changed("connecting");
    timer = setTimeout(() => void begin(), AGAIN_MS);
  }

  void begin();
  return {
    close() {
      over.abort();
      clearTimeout(timer);
      changed("closed");
    },
  };
}
