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

export async function remove(kind: string, name: string, why: Why = {}): Promise<Saved> {
  const { body } = await call<Saved>("DELETE", at(kind, name), { query: { ...why } });
  written.value += 1;
  return body;
}
