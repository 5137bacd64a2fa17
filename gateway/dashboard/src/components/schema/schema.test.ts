import { expect, test } from "vitest";
import { propertiesAt, resolve, withField, type Schema } from "./schema";

const root = {
  components: {
    schemas: {
      Level: { type: "string", enum: ["low", "high"] },
      Inner: { type: "object", properties: { level: { $ref: "#/components/schemas/Level" } }, description: "inner" },
    },
  },
};

test("a reference is followed, and keeps what is said beside it", () => {
  const resolved = resolve({ $ref: "#/components/schemas/Inner", description: "mine" }, root);
  expect([resolved.shape, resolved.description]).toEqual(["object", "mine"]);
});

test("null beside one other schema makes that one optional", () => {
  const resolved = resolve({ oneOf: [{ $ref: "#/components/schemas/Level" }, { type: "null" }], default: null }, root);
  expect([resolved.shape, resolved.isNullable]).toEqual(["choice", true]);
  expect(resolved.choices.map((choice) => choice.value)).toEqual(["low", "high"]);
});

test("alternatives that are constants are a choice, and keep what each means", () => {
  const resolved = resolve({ oneOf: [{ const: "a", description: "A" }, { const: "b" }] }, root);
  expect(resolved.choices).toEqual([
    { value: "a", description: "A" },
    { value: "b", description: undefined },
  ]);
});

test.each<[Schema, string]>([
  [{ type: "string" }, "text"],
  [{ type: ["string", "null"] }, "text"],
  [{ type: "integer", minimum: 0, maximum: 1 }, "switch"],
  [{ type: "integer", minimum: 0 }, "integer"],
  [{ type: ["number", "null"] }, "number"],
  [{ type: "boolean" }, "switch"],
  [{ type: "array", items: { type: "string" } }, "list"],
  [{ type: "array", items: { type: "integer" } }, "json"],
  [{ type: "object", additionalProperties: { type: "string" } }, "map"],
  [{ type: "object" }, "json"],
  [{ oneOf: [{ type: "string" }, { type: "object" }] }, "json"],
  [{}, "json"],
])("%j is edited as %s", (schema, shape) => {
  expect(resolve(schema, root).shape).toBe(shape);
});

test("a schema that refers to itself does not hang", () => {
  const loop = { components: { schemas: { A: { $ref: "#/components/schemas/A" } } } };
  expect(resolve({ $ref: "#/components/schemas/A" }, loop).shape).toBe("json");
});

test("a field that is taken away is gone, and one that is changed keeps its place", () => {
  expect(withField({ a: 1, b: 2 }, "a", undefined)).toEqual({ b: 2 });
  expect(Object.keys(withField({ a: 1, b: 2 }, "a", 3))).toEqual(["a", "b"]);
  expect(withField({ a: 1 }, "b", 2)).toEqual({ a: 1, b: 2 });
});

test("fields are found at any depth", () => {
  const schema = { type: "object", properties: { inner: { $ref: "#/components/schemas/Inner" } } };
  expect(Object.keys(propertiesAt(schema, ["inner"], root))).toEqual(["level"]);
  expect(propertiesAt(schema, ["nothing"], root)).toEqual({});
});
