import { expect, test } from "vitest";
import { difference, isSame } from "./difference";

test("the order of fields is no difference, that of items is", () => {
  expect(isSame({ a: 1, b: [1, 2] }, { b: [1, 2], a: 1 })).toBe(true);
  expect(isSame({ b: [1, 2] }, { b: [2, 1] })).toBe(false);
});

test("differences are told by the deepest field", () => {
  expect(difference({ a: { b: 1, c: 2 }, d: 1 }, { a: { b: 1, c: 3 }, e: [] })).toEqual([
    { path: "a.c", before: 2, after: 3 },
    { path: "d", before: 1, after: undefined },
    { path: "e", before: undefined, after: [] },
  ]);
});
