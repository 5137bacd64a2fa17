// What comes in from a stream: the newest first, bounded, taken in a few times a second, and held while paused.

import { computed, onScopeDispose, ref, shallowRef } from "vue";

const TAKEN_MS = 200;

export function useFeed<T>(most: number) {
  const items = shallowRef<T[]>([]);
  const isPaused = ref(false);
  /** What came while paused, the newest first. */
  const held = shallowRef<T[]>([]);
  let fresh: T[] = [];

  function add(item: T) {
    fresh.push(item);
    if (fresh.length > most) fresh.shift();
  }

  function take() {
    if (fresh.length === 0) return;
    const into = isPaused.value ? held : items;
    into.value = [...fresh.reverse(), ...into.value].slice(0, most);
    fresh = [];
  }

  function pause() {
    take();
    isPaused.value = true;
  }

  function resume() {
    take();
    isPaused.value = false;
    items.value = [...held.value, ...items.value].slice(0, most);
    held.value = [];
  }

  function clear() {
    fresh = [];
    items.value = [];
    held.value = [];
  }

  const timer = setInterval(take, TAKEN_MS);
  onScopeDispose(() => clearInterval(timer));

  return { items, isPaused, heldCount: computed(() => held.value.length), add, pause, resume, clear };
}
