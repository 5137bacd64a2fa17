// Something read from the API: loads it, loads it anew when what it depends on changes or the
// connection comes back, and keeps the last good one while it does.

import { onScopeDispose, ref, shallowRef, watch, type Ref, type ShallowRef, type WatchSource } from "vue";
import { useConnection } from "@/stores/connection";

export interface Resource<T> {
  data: ShallowRef<T | undefined>;
  error: Ref<unknown>;
  isLoading: Ref<boolean>;
  reload: () => Promise<void>;
}

/** Is read anew when one of `on` changes; when one of `isAnother` does, what was read is of no use meanwhile. */
export function useResource<T>(load: (signal: AbortSignal) => Promise<T>, on: WatchSource[] = [], isAnother: WatchSource[] = []): Resource<T> {
  const data = shallowRef<T>();
  const error = ref<unknown>();
  const isLoading = ref(false);
  const connection = useConnection();
  let running: AbortController | undefined;

  async function reload() {
    running?.abort();
    const mine = (running = new AbortController());
    isLoading.value = true;
    try {
      const loaded = await load(mine.signal);
      if (mine.signal.aborted) return;
      data.value = loaded;
      error.value = undefined;
    } catch (problem) {
      if (!mine.signal.aborted) error.value = problem;
    } finally {
      if (running === mine) isLoading.value = false;
    }
  }

  watch(isAnother, () => (data.value = undefined));
  watch([...on, ...isAnother, () => connection.healed], reload, { immediate: true });
  onScopeDispose(() => running?.abort());
  return { data, error, isLoading, reload };
}

/** Calls again and again while the screen is open and can be seen; not while the last call is still under way. */
export function useTicker(milliseconds: number, tick: () => unknown) {
  let isBusy = false;
  const timer = setInterval(async () => {
    if (document.hidden || isBusy) return;
    isBusy = true;
    try {
      await tick();
    } finally {
      isBusy = false;
    }
  }, milliseconds);
  onScopeDispose(() => clearInterval(timer));
}
