// What all fields of a form share.

import { computed, inject, provide, type ComputedRef, type InjectionKey, type MaybeRefOrGetter, type Ref, ref, toValue } from "vue";
import { useWord } from "@/composables/word";
import { useFieldLabel } from "./labels";
import type { Root } from "./schema";

interface Context {
  root: ComputedRef<Root>;
  isReadonly: ComputedRef<boolean>;
  /** What is wrong, by the path of the field. */
  errors: ComputedRef<Record<string, string>>;
  /** What is likely in a field, by its name; anything else may be typed. */
  suggestions: ComputedRef<Record<string, string[]>>;
  /** How many fields hold what cannot be read, so that their last value is not what is seen. */
  broken: Ref<number>;
}

const KEY: InjectionKey<Context> = Symbol("form");

export function provideForm(
  root: MaybeRefOrGetter<Root>,
  isReadonly: MaybeRefOrGetter<boolean>,
  errors: MaybeRefOrGetter<Record<string, string>>,
  suggestions: MaybeRefOrGetter<Record<string, string[]>> = {},
): { broken: Ref<number> } {
  // The form of a plugin's settings is a part of its route's.
  const broken = inject(KEY, undefined)?.broken ?? ref(0);
  provide(KEY, {
    root: computed(() => toValue(root)),
    isReadonly: computed(() => toValue(isReadonly)),
    errors: computed(() => toValue(errors)),
    suggestions: computed(() => toValue(suggestions)),
    broken,
  });
  return { broken };
}

export function useForm(): Context {
  const context = inject(KEY);
  if (!context) throw new Error("a field outside of a form");
  return context;
}

/** The name of a field in the reader's language, and what it is for. */
export function useFieldTexts() {
  const word = useWord();
  const label = useFieldLabel();
  const hint = (name: string, described: string | undefined) =>
    word(`hints.${name}`, (described ?? "").replaceAll("\n", " ").replaceAll("`", ""));
  return { label, hint };
}
