// Server-sent events of the Admin API. Comes back by itself after a lost connection, and tells of it.

import { url, type Call } from "./client";

export type StreamState = "connecting" | "open" | "closed";

export interface Stream {
  close(): void;
}

/** Listens to events of these names until it is closed. What is no JSON is left out. */
export function listen(
  path: string,
  query: Call["query"],
  names: string[],
  heard: (data: unknown, name: string, id: string) => void,
  changed: (state: StreamState) => void = () => {},
): Stream {
  let source: EventSource | undefined;
  let again: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;

  function begin() {
    changed("connecting");
    source = new EventSource(url(path, query));
    source.onopen = () => changed("open");
    source.onerror = () => {
      // The browser comes back by itself after a lost connection, but not after an answer of another kind.
      changed("connecting");
      if (source?.readyState === EventSource.CLOSED && !isOver) again = setTimeout(begin, 3000);
    };
    for (const name of names) {
      source.addEventListener(name, (event: MessageEvent<string>) => {
        try {
          heard(JSON.parse(event.data), name, event.lastEventId);
        } catch (error) {
          console.warn("an event that cannot be read", name, error);
        }
      });
    }
  }

  begin();
  return {
    close() {
      isOver = true;
      clearTimeout(again);
      source?.close();
      changed("closed");
    },
  };
}
