import { expect, test } from "vitest";
import { isLastAdministrator, makePassword, type User } from "./types";

function user(name: string, role: User["role"], services: string[] | null = null): User {
  return { name, role, services, display_name: "", totp: false, source: "store" };
}

test("the last administrator is who nobody else could replace", () => {
  const [one, two] = [user("one", "admin"), user("two", "admin")];
  const limited = user("limited", "admin", ["shop"]);
  expect(isLastAdministrator(one, [one, limited, user("three", "editor")])).toBe(true);
  expect(isLastAdministrator(one, [one, two])).toBe(false);
  expect(isLastAdministrator(limited, [limited])).toBe(false);
});

test("a password that is made is long and another one each time", () => {
  expect(makePassword()).toMatch(/^[a-z2-9]{6}(-[a-z2-9]{6}){3}$/);
  expect(makePassword()).not.toBe(makePassword());
});
