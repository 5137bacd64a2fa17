// How a box of the topology is told, and where it leads.

import { useI18n } from "petite-vue-i18n";
import type { RouteLocationRaw } from "vue-router";
import { useFormat } from "@/composables/format";
import type { Box, Word } from "./graph";

export function objectOf(box: Box): RouteLocationRaw {
  // Nodes are shown, and changed, with their service.
  return { name: "object", params: { kind: box.layer === "route" ? "routes" : "services", name: box.name } };
}

export function useWords() {
  const { t } = useI18n();
  const { number } = useFormat();

  const word = ({ key, values }: Word) => t(key, values ?? {});
  const about = (box: Box) =>
    t("topology.about", { kind: t(`topology.${box.layer}`), name: box.title, state: word(box.word), count: number(box.requests) });
  return { word, about };
}
