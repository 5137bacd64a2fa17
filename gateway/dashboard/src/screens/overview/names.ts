// What people know routes by: their hosts and paths. Names that the gateway made say nothing.

import { shallowRef, watch, type Ref } from "vue";
import { at, get } from "@/api/client";
import type { Stored } from "@/api/types";
import { texts } from "@/kinds/kind";

export function routeTitle(value: Stored): string | undefined {
  const { prefix, hosts } = value;
  if (typeof prefix !== "string") return undefined;
  return `${texts(hosts)[0] ?? ""}${prefix}`;
}

/** The titles of the few routes that are shown; each is asked for once. */
export function useRouteTitles(ids: Ref<string[]>): Ref<Map<string, string>> {
  const titles = shallowRef(new Map<string, string>());
  const asked = new Set<string>();
  watch(
    ids,
    (wanted) => {
      for (const id of wanted) {
        if (asked.has(id)) continue;
        asked.add(id);
        void ask(id);
      }
    },
    { immediate: true },
  );
  async function ask(id: string) {
    try {
      const title = routeTitle(await get<Stored>(`/routes${at(id)}`));
      if (title !== undefined) titles.value = new Map(titles.value).set(id, title);
    } catch {
      // Deleted since, or out of reach: its name is shown.
    }
  }
  return titles;
}
