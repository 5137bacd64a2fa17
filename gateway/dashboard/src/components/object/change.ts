// Changes of one object that more than one screen makes.

import { at, call } from "@/api/client";
import type { Saved, Stored } from "@/api/types";
import { written } from "@/components/written";

export interface Why {
  reason?: string;
  confirm_within?: string;
}

export async function patch(kind: string, name: string, value: Stored, why: Why = {}): Promise<Saved> {
  const { body } = await call<Saved>("PATCH", at(kind, name), { body: value, query: { ...why } });
  written.value += 1;
  return body;
}

/** Deletes this version of it; one that somebody has changed since stays. */
export async function remove(kind: string, name: string, etag: string | undefined, why: Why = {}): Promise<Saved> {
  const headers: Record<string, string> = etag === undefined ? {} : { "If-Match": etag };
  const { body } = await call<Saved>("DELETE", at(kind, name), { query: { ...why }, headers });
  written.value += 1;
  return body;
}
