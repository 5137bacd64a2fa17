// One object being edited: read with its version, checked by a dry run, saved, and what to do when
// someone else was faster. Knows nothing of how it looks.

import { computed, ref, shallowRef } from "vue";
import { at, call } from "@/api/client";
import { Problem } from "@/api/problem";
import type { Saved, Stored } from "@/api/types";
import { written } from "@/components/written";
import type { Kind } from "@/kinds/kind";
import { declared } from "./asText";
import { lookUp, type Race } from "./race";

export function useEditing(kind: Kind, name: () => string | undefined, given: () => string) {
  /** As it was when it was opened; of a new one what it begins with. */
  const opened = shallowRef<Stored>();
  const value = shallowRef<Stored>({});
  const etag = ref<string>();
  const error = ref<unknown>();
  const errors = ref<Record<string, string>>({});
  /** What is wrong and has no field. */
  const general = ref<string>();
  /** What is there instead, after a lost race. It is written over only when the person has said so. */
  const race = shallowRef<Race>();
  /** It was deleted meanwhile, and is to be made again. */
  const isGone = ref(false);
  /** There is one of the new one's name. */
  const isTaken = ref(false);
  const isBusy = ref(false);

  /** Nothing is stored of it: it is as the defaults have it. */
  const isImplied = ref(false);

  const isNew = computed(() => name() === undefined || isImplied.value || isGone.value);
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
      isGone.value = false;
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
    isTaken.value = false;
  }

  function refused(problem: unknown): boolean {
    forgetProblems();
    if (!(problem instanceof Problem) || problem.status === 412) return false;
    const named = Object.fromEntries(problem.errors.filter(({ field }) => field !== "").map(({ field, detail }) => [field, detail]));
    errors.value = named;
    const unplaced = problem.errors.filter(({ field }) => field === "").map(({ detail }) => detail);
    general.value = Object.keys(named).length === 0 ? problem.message : unplaced.join("; ") || undefined;
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
      if (problem instanceof Problem && problem.status === 412) await late();
      else if (!refused(problem)) throw problem;
      return undefined;
    } finally {
      isBusy.value = false;
    }
  }

  /** Somebody was faster: with the name of a new one, or with a change. */
  async function late() {
    forgetProblems();
    const stored = name();
    if (stored === undefined) isTaken.value = true;
    else race.value = await lookUp(kind.path, stored);
  }

  /** Drops mine. What was deleted is no longer there to be shown. */
  function takeTheirs() {
    const found = race.value;
    race.value = undefined;
    forgetProblems();
    if (!found?.theirs) return;
    adopt(found);
    begin(found.theirs);
  }

  /** Lets the next save go over what is there now. */
  function keepMine() {
    if (race.value) adopt(race.value);
    race.value = undefined;
  }

  function adopt(found: Race) {
    etag.value = found.etag;
    isGone.value = found.theirs === undefined;
    if (found.theirs) isImplied.value = false;
  }

  return { opened, value, etag, isImplied, error, errors, general, race, isTaken, isBusy, isNew, isChanged, load, send, late, takeTheirs, keepMine, forgetProblems };
}
