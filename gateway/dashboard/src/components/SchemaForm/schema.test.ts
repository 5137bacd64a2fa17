import { expect, test } from "vitest";
import { beginning, fits, isNullable, resolved, shapeOf, titleOf, withField, type Schema } from "./schema";

const root = {
  components: {
    schemas: {
      Balancer: { type: "string", enum: ["random", "hash"], description: "How." },
      Timeouts: { type: "object", properties: { read: { type: ["string", "null"] } } },
      Loop: { $ref: "#/components/schemas/Loop" },
    },
  },
};
const shape = (schema: Schema) => shapeOf(schema, root);

test("a reference is followed, and what stands beside it goes before", () => {
  const found = resolved({ $ref: "#/components/schemas/Balancer", description: "Mine." }, root);
  expect(found).toEqual({ type: "string", enum: ["random", "hash"], description: "Mine." });
});

test("a reference to itself or to nothing ends as JSON", () => {
  expect(shape({ $ref: "#/components/schemas/Loop" })).toEqual({ as: "json" });
  expect(shape({ $ref: "#/nothing/here" })).toEqual({ as: "json" });
});

test("what may be null is drawn as what it else is", () => {
  const optional: Schema = { oneOf: [{ $ref: "#/components/schemas/Balancer" }, { type: "null" }] };
  expect(shape(optional)).toEqual({ as: "choose", options: [{ value: "random" }, { value: "hash" }] });
  expect(isNullable(optional, root)).toBe(true);
  expect(shape({ type: ["integer", "null"], minimum: 0 })).toEqual({ as: "number", isWhole: true, minimum: 0, maximum: undefined });
});

test("constants side by side are one choice, with what is said of each", () => {
  const mode: Schema = { oneOf: [{ const: "always", description: "A." }, { const: "off", description: "B." }] };
  expect(shape(mode)).toEqual({
    as: "choose",
    options: [
      { value: "always", description: "A." },
      { value: "off", description: "B." },
    ],
  });
});

test("nested variants are one list, and a value finds its own", () => {
  const test: Schema = {
    oneOf: [{ type: "string" }, { oneOf: [{ type: "object", required: ["regex"], properties: { regex: { type: "string" } } }] }],
  };
  const found = shape(test);
  if (found.as !== "variants") throw new Error(found.as);
  expect(found.variants.map((variant) => fits({ regex: "a" }, variant, root))).toEqual([false, true]);
  expect(found.variants.map((variant) => titleOf(variant, root))).toEqual(["string", "regex"]);
});

test("0 and 1 are a switch, bounds are kept, and a map has values", () => {
  expect(shape({ type: "integer", minimum: 0, maximum: 1 })).toEqual({ as: "switch", isNumber: true });
  expect(shape({ type: "number", maximum: 2 })).toEqual({ as: "number", isWhole: false, minimum: undefined, maximum: 2 });
  expect(shape({ type: "object", additionalProperties: { type: "string" } })).toEqual({ as: "map", value: { type: "string" } });
  expect(shape({ type: "object" })).toEqual({ as: "json" });
});

test("fields that are only shown are not in the form", () => {
  const found = shape({ type: "object", properties: { a: { type: "string" }, time: { type: "integer", readOnly: true } } });
  expect(found).toEqual({ as: "object", properties: [["a", { type: "string" }]], required: [] });
});

test("a new value has what is required, and defaults", () => {
  const schema: Schema = {
    type: "object",
    required: ["on", "name"],
    properties: { on: { $ref: "#/components/schemas/Balancer" }, name: { type: "string" }, load: { type: "number" } },
  };
  expect(beginning(schema, root)).toEqual({ on: "random", name: "" });
  expect(beginning({ type: "integer", default: 7 }, root)).toBe(7);
});

test("setting a field leaves the others and the old record alone", () => {
  const before = { a: 1, b: 2 };
  expect(withField(before, "a", undefined)).toEqual({ b: 2 });
  expect(withField(undefined, "a", 1)).toEqual({ a: 1 });
  expect(before).toEqual({ a: 1, b: 2 });
});
