import { expect, test } from "vitest";
import { part, undone } from "./rebuild";

test("an object is as it was before", () => {
  const now = { a: 1, b: { c: [1, 2], d: 2 }, f: null };
  const fields = [
    { path: "b.c", before: [1], after: [1, 2] },
    { path: "e", before: 3 },
    { path: "f", after: null },
  ];
  expect(undone(now, fields)).toEqual({ a: 1, b: { c: [1], d: 2 }, e: 3 });
  expect(now).toEqual({ a: 1, b: { c: [1, 2], d: 2 }, f: null });
});

test("names may have dots", () => {
  const now = { labels: { "a.b": "new", a: "other" } };
  expect(undone(now, [{ path: "labels.a.b", before: "old", after: "new" }])).toEqual({ labels: { "a.b": "old", a: "other" } });
  expect(undone({ labels: {} }, [{ path: "labels.x.y", before: "gone" }])).toEqual({ labels: { "x.y": "gone" } });
});

test("what was created was not, and what was deleted was", () => {
  expect(undone({ a: 1 }, [{ path: "", before: null, after: { a: 1 } }])).toBeUndefined();
  expect(undone(undefined, [{ path: "", before: { a: 1 }, after: null }])).toEqual({ a: 1 });
});

test("where the whole is not known the fields are told", () => {
  const fields = [{ path: "a.b", before: 1, after: 2 }, { path: "c", after: 3 }];
  expect([part(fields, "before"), part(fields, "after")]).toEqual([{ "a.b": 1 }, { "a.b": 2, c: 3 }]);
});
