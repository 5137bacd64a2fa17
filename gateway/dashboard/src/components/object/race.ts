// What is there now, after a save came too late, and whose it is.

import { at, call, get } from "@/api/client";
import { Problem } from "@/api/problem";
import type { Stored } from "@/api/types";

export interface Race {
  /** Absent: it was deleted. */
  theirs?: Stored;
  etag?: string;
  who?: string;
  /** Milliseconds since 1970. */
  when?: number;
}

interface Revisions {
  items: { time: number; author?: { name: string } | null }[];
}

export async function lookUp(kind: string, name: string): Promise<Race> {
  const race: Race = {};
  try {
    const { body, etag } = await call<Stored>("GET", at(kind, name));
    race.theirs = body;
    race.etag = etag;
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 404) throw error;
  }
  try {
    const [last] = (await get<Revisions>("/history", { kind, name, limit: 1 })).items;
    race.who = last?.author?.name;
    race.when = last?.time;
  } catch {
    // Whose it is would be good to know, and is not needed.
  }
  return race;
}
