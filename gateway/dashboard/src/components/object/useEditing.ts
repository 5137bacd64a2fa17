// One object being edited: read with its version, checked by a dry run, saved, and what to do when
// someone else was faster. Knows nothing of how it looks.

import { computed, ref, shallowRef } from "vue";
import { at, call } from "@/api/client";
import { Problem } from "@/api/problem";
import type { Saved, Stored } from "@/api/types";
import { written } from "@/components/written";
import type { Kind } from "@/kinds/kind";
import { declared } from "./asText";

export function useEditing(kind: Kind, name: () => string | undefined, given: () => string) {
  /** As it was when it was opened; of a new one what it begins with. */
  const opened = shallowRef<Stored>();
  const value = shallowRef<Stored>({});
  const etag = ref<string>();
  const error = ref<unknown>();
  const errors = ref<Record<string, string>>({});
  /** What is wrong and has no field. */
  const general = ref<string>();
  const theirs = shallowRef<Stored>();
  const hasLost = ref(false);
  const isBusy = ref(false);

  /** Nothing is stored of it: it is as the defaults have it. */
  const isImplied = ref(false);

  const isNew = computed(() => name() === undefined || isImplied.value);
  const isChanged = computed(
    () => opened.value !== undefined && JSON.stringify(declared(value.value, kind.path)) !== JSON.stringify(declared(opened.value, kind.path)),
  );

  function begin(from: Stored) {
    opened.value = from;
    value.value = from;
  }

  async function load(): Promise<void> {
    error.value = undefined;
    const stored = name();
    if (stored === undefined) return begin(kind.begin());
    try {
      const answer = await call<Stored>("GET", at(kind.path, stored));
      etag.value = answer.etag;
      isImplied.value = false;
      begin(answer.body);
      forgetProblems();
    } catch (problem) {
      const isAbsent = problem instanceof Problem && problem.status === 404;
      if (!isAbsent || !kind.isImplied) {
        error.value = problem;
        return;
      }
      etag.value = undefined;
      isImplied.value = true;
      begin(kind.begin());
    }
  }

  function forgetProblems() {
    errors.value = {};
    general.value = undefined;
  }

  function refused(problem: unknown): boolean {
    forgetProblems();
    if (!(problem instanceof Problem) || problem.status === 412) return false;
    const named = Object.fromEntries(problem.errors.filter(({ field }) => field !== "").map(({ field, detail }) => [field, detail]));
    errors.value = named;
    general.value = Object.keys(named).length === 0 ? problem.message : undefined;
    return true;
  }

  /** Sends it; throws what is neither a refusal that is shown nor a lost race. */
  async function send(query: Record<string, string | boolean | undefined>): Promise<Saved | undefined> {
    isBusy.value = true;
    try {
      const body = declared(value.value, kind.path);
      const stored = name() ?? (kind.naming === "given" || given() !== "" ? given() : undefined);
      const headers: Record<string, string> = isNew.value ? { "If-None-Match": "*" } : { "If-Match": etag.value ?? "*" };
      const answer =
        stored === undefined
          ? await call<Saved>("POST", `/${kind.path}`, { body, query })
          : await call<Saved>("PUT", at(kind.path, stored), { body, query, headers });
      forgetProblems();
      if (!query.dry_run) written.value += 1;
      return answer.body;
    } catch (problem) {
      if (problem instanceof Problem && problem.status === 412 && !isNew.value) await lost();
      else if (!refused(problem)) throw problem;
      return undefined;
    } finally {
      isBusy.value = false;
    }
  }

  async function lost() {
    const stored = name();
    if (stored === undefined) return;
    try {
      const answer = await call<Stored>("GET", at(kind.path, stored));
      theirs.value = answer.body;
      etag.value = answer.etag;
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.status !== 404) throw problem;
      theirs.value = undefined;
      etag.value = undefined;
    }
    hasLost.value = true;
  }

  function takeTheirs() {
    hasLost.value = false;
    forgetProblems();
    if (theirs.value) begin(theirs.value);
  }

  return { opened, value, etag, isImplied, error, errors, general, theirs, hasLost, isBusy, isNew, isChanged, load, send, takeTheirs, forgetProblems };
}
