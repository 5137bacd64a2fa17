import { expect, test } from "vitest";
import { parser } from "./sse";

test("events are found however the text is cut", () => {
  const text = ": hello\n\nevent: a\ndata: 1\nid: 7\n\ndata: 2\r\ndata:3\r\n\r\nevent: empty\n\nevent: b\ndata: {\"x\": \":\"}\n\n";
  const expected = [
    { name: "a", data: "1", id: "7" },
    { name: "message", data: "2\n3", id: "7" },
    { name: "b", data: '{"x": ":"}', id: "7" },
  ];
  for (const size of [1, 2, 3, 7, text.length]) {
    const take = parser();
    const pieces = text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
    expect(pieces.flatMap(take)).toEqual(expected);
  }
});

test("what is not complete is kept back", () => {
  const take = parser();
  expect(take("data: 1\n")).toEqual([]);
  expect(take("\n")).toEqual([{ name: "message", data: "1", id: "" }]);
});
