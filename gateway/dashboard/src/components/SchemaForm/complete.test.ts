import { expect, test } from "vitest";
import { fieldsAt, inYaml, valuesAt } from "./complete";
import type { Schema } from "./schema";

const schema: Schema = {
  type: "object",
  properties: {
    status: { type: "integer", minimum: 0, maximum: 1 },
    health: { type: "object", properties: { active: { oneOf: [{ type: "object", properties: { type: { enum: ["tcp", "http"] } } }, { type: "null" }] } } },
    headers: { type: "object", additionalProperties: { type: "object", properties: { regex: { type: "string" } } } },
  },
};

test("the fields and values that a place may have", () => {
  expect(fieldsAt(schema, {}, []).map(({ name }) => name)).toEqual(["status", "health", "headers"]);
  expect(valuesAt(schema, {}, ["status"])).toEqual([1, 0]);
  expect(valuesAt(schema, {}, ["health", "active", "type"])).toEqual(["tcp", "http"]);
  expect(fieldsAt(schema, {}, ["headers", "x-any"]).map(({ name }) => name)).toEqual(["regex"]);
  expect(fieldsAt(schema, {}, ["nothing"])).toEqual([]);
});

test("the place in YAML is told by indentation", () => {
  expect(inYaml("a: 1\nhealth:\n  active:\n    ty")).toEqual({ path: ["health", "active"], isName: true });
  expect(inYaml("health:\n  active:\n    type: ")).toEqual({ path: ["health", "active", "type"], isName: false });
  expect(inYaml("health:\n  active:\nst")).toEqual({ path: [], isName: true });
});
