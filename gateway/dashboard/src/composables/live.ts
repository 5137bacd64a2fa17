// Something read that is looked at again every ten seconds, and after each change this panel made.

import { written } from "@/components/written";
import { useResource, useTicker, type Resource } from "./resource";

export const LIVE_MS = 10_000;

export function useLive<T>(load: (signal: AbortSignal) => Promise<T>): Resource<T> {
  const resource = useResource(load, [written]);
  useTicker(LIVE_MS, resource.reload);
  return resource;
}
