import { expect, test } from "vitest";
import { createI18n } from "petite-vue-i18n";
import "./index";
import en from "./en/index";
import zh from "./zh/index";

function keys(texts: unknown, at = ""): string[] {
  if (typeof texts !== "object" || texts === null) return [at];
  return Object.entries(texts).flatMap(([key, value]) => keys(value, at === "" ? key : `${at}.${key}`));
}

function variables(texts: unknown, at: string): string[] {
  const text = at.split(".").reduce<unknown>((found, key) => (found as Record<string, unknown>)[key], texts);
  return [...new Set(String(text).match(/\{\w+\}/g) ?? [])].sort();
}

test("both languages say the same things, but what fields are for, which the API says in English", () => {
  expect(keys(zh).filter((key) => !key.startsWith("hints.")).sort()).toEqual(keys(en).sort());
});

test("both languages name the same variables", () => {
  for (const key of keys(en)) expect([key, variables(zh, key)]).toEqual([key, variables(en, key)]);
});

test("each text can be said: what the language of messages gives a meaning is quoted", () => {
  for (const messages of [en, zh]) {
    const { t } = createI18n<false>({ legacy: false, locale: "one", messages: { one: messages as never } }).global as {
      t: (key: string, named: object, plural: number) => string;
    };
    for (const key of keys(messages)) expect(() => t(key, {}, 1), key).not.toThrow();
  }
});
