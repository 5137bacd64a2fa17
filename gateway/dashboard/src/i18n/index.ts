// The panel's texts. A language is loaded when it is chosen; an area of the panel has a file of its own.

import { registerMessageResolver, resolveValue } from "@intlify/core-base";
import { createI18n } from "petite-vue-i18n";
import type { Language } from "@/stores/preferences";

// The small form of vue-i18n knows flat keys only, unless it is told how to find nested ones.
registerMessageResolver(resolveValue);

export const i18n = createI18n({ legacy: false, locale: "en", fallbackLocale: "en", messages: {} });

const languages = { en: () => import("./en/index"), zh: () => import("./zh/index") };

export async function speak(language: Language) {
  if (!i18n.global.availableLocales.includes(language as never)) {
    i18n.global.setLocaleMessage(language, (await languages[language]()).default);
  }
  i18n.global.locale.value = language as never;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}
