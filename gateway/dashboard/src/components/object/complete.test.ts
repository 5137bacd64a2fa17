import { expect, test } from "vitest";
import { pathInJson, pathInYaml } from "./complete";

test.each([
  ["", []],
  ["a: 1\n", []],
  ["timeouts:\n  ", ["timeouts"]],
  ["health:\n  active:\n    type: tcp\n    ", ["health", "active"]],
  ["health:\n  active:\n    type: tcp\ntls:\n  ", ["tls"]],
])("in the YAML %j the place is %j", (text, path) => {
  expect(pathInYaml(text)).toEqual(path);
});

test.each([
  ["{", []],
  ['{"a": 1, "timeouts": {', ["timeouts"]],
  ['{"health": {"active": {"type": "t{cp"}, "passive": {', ["health", "passive"]],
  [String.raw`{"x": "a\"{", `, []],
])("in the JSON %j the place is %j", (text, path) => {
  expect(pathInJson(text)).toEqual(path);
});
