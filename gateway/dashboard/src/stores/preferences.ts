// The language and the colours a person likes. Kept in this browser; no secrets here.

import { defineStore } from "pinia";
import { computed, ref, watch } from "vue";

export type Language = "en" | "zh";
export type Theme = "system" | "light" | "dark";

function kept<T extends string>(name: string, allowed: readonly T[], otherwise: T): T {
  const found = localStorage.getItem(`ws-gateway.${name}`);
  return allowed.find((value) => value === found) ?? otherwise;
}

function ofBrowser(): Language {
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const usePreferences = defineStore("preferences", () => {
  const language = ref<Language>(kept("language", ["en", "zh"], ofBrowser()));
  const theme = ref<Theme>(kept("theme", ["system", "light", "dark"], "system"));
  const system = matchMedia("(prefers-color-scheme: dark)");
  const systemIsDark = ref(system.matches);
  system.addEventListener("change", (event) => (systemIsDark.value = event.matches));

  const isDark = computed(() => (theme.value === "system" ? systemIsDark.value : theme.value === "dark"));

  watch(language, (value) => localStorage.setItem("ws-gateway.language", value));
  watch(theme, (value) => localStorage.setItem("ws-gateway.theme", value));
  watch(isDark, (dark) => document.documentElement.classList.toggle("dark", dark), { immediate: true });

  return { language, theme, isDark };
});
