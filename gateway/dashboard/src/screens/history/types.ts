// What /admin/v2/history answers.

import type { Change } from "@/api/types";

export interface Revision {
  revision: number;
  /** Milliseconds since 1970. */
  time: number;
  author: { name: string; origin: string; address?: string };
  reason: string | null;
  /** The revision whose state it restored. */
  restored: number | null;
  changes: Change[];
  undone_at?: number;
}

export interface Revisions {
  revision: number;
  items: Revision[];
}

export interface Difference {
  from: number;
  to: number;
  changes: Change[];
}
