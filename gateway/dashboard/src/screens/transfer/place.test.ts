import { expect, test } from "vitest";
import { Problem } from "@/api/problem";
import { faults } from "./place";

function at(text: string, field: string, detail = "is wrong") {
  const [fault] = faults(text, new Problem({ title: "", status: 422, detail: "", errors: [{ field, detail }] }));
  return [fault?.line, fault?.place && text.slice(fault.place.from, fault.place.to)];
}

const yaml = `# a comment
routes:
  shop: {prefix: shop, hosts: [a, "b c"]}
nodes:
  demo1.33f0:
    weight: -1
  demo1.33f0.more:
    weight: -2
`;

test("an error is at its field, in YAML", () => {
  expect(at(yaml, "routes.shop.prefix")).toEqual([3, "prefix: shop"]);
  expect(at(yaml, "routes.shop.hosts[1]")).toEqual([3, '"b c"']);
  expect(at(yaml, "nodes.demo1.33f0.weight")).toEqual([6, "weight: -1"]);
  expect(at(yaml, "nodes.demo1.33f0.more.weight")).toEqual([8, "weight: -2"]);
});

test("what is missing is at what it is missing in", () => {
  expect(at(yaml, "routes.shop.service_name")).toEqual([3, "shop"]);
  expect(at(yaml, "nothing.here")).toEqual([undefined, undefined]);
});

test("an error is at its field, in JSON", () => {
  const json = '{\n  "routes": {\n    "shop": {"prefix": "shop"}\n  }\n}';
  expect(at(json, "routes.shop.prefix")).toEqual([3, '"prefix": "shop"']);
});

test("what cannot be read is at its line and column; an unknown kind at its name", () => {
  expect(at("a: 1\nb: [", "", "unclosed at line 2 column 4\n --> more")).toEqual([2, "["]);
  expect(at("rotes:\n  a: {}\n", "", 'there is no kind "rotes"; there are routes')).toEqual([1, "rotes"]);
});
