// What the server refused of a form: the text at each field, and the rest for the form's foot.

import { computed, ref } from "vue";
import { isWithin, Problem } from "@/api/problem";
import { reason } from "./feedback";

/** `fields` are those the form shows a text at; `services.0` belongs to `services`. */
export function useRefusal(fields: string[]) {
  const error = ref<unknown>();

  const byField = computed(() => {
    const found = new Map<string, string>();
    if (!(error.value instanceof Problem)) return found;
    for (const { field, detail } of error.value.errors) {
      const own = fields.find((name) => isWithin(field, name));
      if (own) found.set(own, detail);
    }
    return found;
  });

  const rest = computed(() => (error.value !== undefined && byField.value.size === 0 ? reason(error.value) : ""));

  /** Does something, and keeps why it was refused. */
  async function attempt(action: () => Promise<void>) {
    error.value = undefined;
    try {
      await action();
    } catch (problem) {
      error.value = problem;
    }
  }

  return {
    at: (field: string) => byField.value.get(field),
    rest,
    attempt,
    clear: () => (error.value = undefined),
  };
}
