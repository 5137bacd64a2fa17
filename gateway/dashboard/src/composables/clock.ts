// The time now, each second, for countdowns.

import { onScopeDispose, ref, type Ref } from "vue";

export function useClock(): Ref<number> {
  const now = ref(Date.now());
  const timer = setInterval(() => (now.value = Date.now()), 1000);
  onScopeDispose(() => clearInterval(timer));
  return now;
}
