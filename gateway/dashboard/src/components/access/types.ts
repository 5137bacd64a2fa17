// Accounts, API tokens and the record, as the Admin API tells of them; and what the panel works out from that.

import type { Role } from "@/stores/session";

export interface User {
  name: string;
  role: Role;
  services: string[] | null;
  display_name: string;
  totp: boolean;
  source: "store" | "configuration";
  /** Shown once, when it was made. */
  password?: string;
}

export interface Token {
  id: string;
  name: string;
  role: Role | null;
  services: string[] | null;
  scope: "register" | null;
  last_four: string;
  creator: string;
  created: string;
  expires: string | null;
  has_expired: boolean;
  /** Shown once, when it was made. */
  token?: string;
}

export interface AuditEntry {
  id: string;
  time: string | null;
  actor: string;
  credential: string;
  address: string | null;
  action: string;
  target: string;
  detail: string;
}

export const ROLES: Role[] = ["viewer", "editor", "admin"];

/** Whether it may administer accounts: an `admin` that is not held to some services. */
export function administers(user: Pick<User, "role" | "services">): boolean {
  return user.role === "admin" && user.services === null;
}

/** Whether nobody is left to administer when this one no longer may. */
export function isLastAdministrator(user: User, users: User[]): boolean {
  return administers(user) && users.filter(administers).length === 1;
}

/** 32 letters and digits that are not taken for one another. */
const ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789";

/** A password nobody guesses: 120 bits, in groups to be read out. */
export function makePassword(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  const letters = [...bytes].map((byte) => ALPHABET[byte % ALPHABET.length]).join("");
  return letters.match(/.{6}/g)?.join("-") ?? letters;
}
