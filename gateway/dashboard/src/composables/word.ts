// A text whose key comes from the server: in the reader's language where there is one, else as the server wrote it.

import { resolveValue } from "@intlify/core-base";
import { useI18n } from "petite-vue-i18n";
import { i18n } from "@/i18n";

/** Whether there is a text; both languages have the same. */
export function isKnown(key: string): boolean {
  return typeof resolveValue(i18n.global.getLocaleMessage(i18n.global.locale.value), key) === "string";
}

export function useWord() {
  const { t } = useI18n();
  return (key: string, otherwise = "") => (isKnown(key) ? t(key) : otherwise);
}
