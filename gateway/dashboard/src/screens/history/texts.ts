// The two texts of an object that a revision changed: as it was before, and as it was after.

import { stringify } from "yaml";
import { at, get } from "@/api/client";
import { Problem } from "@/api/problem";
import type { Change, Stored } from "@/api/types";
import { declared } from "@/components/object/asText";
import { part, undone } from "./rebuild";
import type { Difference } from "./types";

export interface Texts {
  before: string;
  after: string;
  /** Only the fields that differ are known. */
  isPart: boolean;
}

function text(value: unknown): string {
  return value === undefined || value === null ? "" : stringify(value, { sortMapEntries: true, lineWidth: 0 });
}

/** What is there now; `undefined` for nothing. */
async function present(change: Change, signal: AbortSignal): Promise<unknown> {
  try {
    const stored = await get<Stored>(at(change.kind, change.name), undefined, signal);
    return declared(stored, change.kind);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return undefined;
    throw error;
  }
}

export async function texts(revision: number, last: number, change: Change, signal: AbortSignal): Promise<Texts> {
  const fields = change.fields ?? [];
  if (change.kind === "other" || fields.some((field) => field.path === "")) {
    return { before: text(undone(undefined, fields)), after: text(fields.find((field) => field.path === "")?.after), isPart: change.kind === "other" };
  }
  const same = (other: Change) => other.kind === change.kind && other.name === change.name;
  try {
    const since = last > revision ? await get<Difference>("/history/diff", { from: revision, to: last }, signal) : undefined;
    const after = undone(await present(change, signal), since?.changes.find(same)?.fields ?? []);
    if (after !== undefined) return { before: text(undone(after, fields)), after: text(after), isPart: false };
  } catch (error) {
    // A record between is gone, or the object is none that can be read.
    if (!(error instanceof Problem)) throw error;
  }
  return { before: text(part(fields, "before")), after: text(part(fields, "after")), isPart: true };
}

