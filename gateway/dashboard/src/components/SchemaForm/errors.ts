// What the gateway finds wrong, for the fields to show.

import { inject, provide, type InjectionKey, type Ref } from "vue";
import type { FieldProblem } from "@/api/problem";

const KEY: InjectionKey<Readonly<Ref<FieldProblem[]>>> = Symbol("errors");

export function provideErrors(errors: Readonly<Ref<FieldProblem[]>>) {
  provide(KEY, errors);
}

export const isWithin = (field: string, path: string) =>
  field === path || field.startsWith(`${path}.`) || field.startsWith(`${path}[`);

export function useErrors() {
  const errors = inject(KEY, undefined);
  const at = (path: string) => (errors?.value ?? []).filter(({ field }) => isWithin(field, path));
  /** Those of it that no field below it shows. */
  function ownOf(path: string, below: string[]) {
    return at(path).filter(({ field }) => !below.some((name) => isWithin(field, `${path}.${name}`)));
  }
  return { at, ownOf };
}
