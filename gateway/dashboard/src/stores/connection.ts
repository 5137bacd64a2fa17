// Whether the gateway can be reached. While it cannot, it is asked now and then, so that the panel heals by itself.

import { defineStore } from "pinia";
import { ref } from "vue";

const AGAIN_MS = 2000;

export const useConnection = defineStore("connection", () => {
  const isLost = ref(false);
  /** Counts the times it came back; screens load anew when it changes. */
  const healed = ref(0);
  let timer: ReturnType<typeof setTimeout> | undefined;

  function reached() {
    if (!isLost.value) return;
    isLost.value = false;
    healed.value += 1;
    clearTimeout(timer);
  }

  function lost() {
    if (isLost.value) return;
    isLost.value = true;
    timer = setTimeout(ask, AGAIN_MS);
  }

  async function ask() {
    try {
      await fetch("/admin/v2/me", { credentials: "same-origin", signal: AbortSignal.timeout(10_000) });
      reached();
    } catch {
      timer = setTimeout(ask, AGAIN_MS);
    }
  }

  return { isLost, healed, reached, lost };
});
