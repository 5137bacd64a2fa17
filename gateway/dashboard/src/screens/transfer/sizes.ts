// What documents have, and how large they may be.

export const KINDS = ["routes", "services", "nodes", "node-overlays", "global-plugins", "certificates"] as const;
/** A larger document is shown only when asked for. */
export const LARGE = 512 * 1024;
/** The server takes no larger one. */
export const LARGEST = 16 * 1024 * 1024;

export function bytesOf(text: string): number {
  return new Blob([text]).size;
}
