// The panel's texts. A language is loaded when it is chosen; an area of the panel has a file of its own.

import { createI18n } from "vue-i18n";
import type { Language } from "@/stores/preferences";

export const i18n = createI18n({ legacy: false, locale: "en", fallbackLocale: "en", messages: {} });

const languages = { en: () => import("./en/index"), zh: () => import("./zh/index") };

export async function speak(language: Language) {
  if (!i18n.global.availableLocales.includes(language as never)) {
    i18n.global.setLocaleMessage(language, (await languages[language]()).default);
  }
  i18n.global.locale.value = language as never;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}
