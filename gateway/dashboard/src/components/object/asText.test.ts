import { expect, test } from "vitest";
import { asCurl, asYaml, declared } from "./asText";

test("what the gateway adds is left out, and a certificate keeps its key", () => {
  expect(declared({ prefix: "/a", key: "k", time: 1 }, "routes")).toEqual({ prefix: "/a" });
  expect(declared({ cert: "c", key: "unchanged", details: {} }, "certificates")).toEqual({ cert: "c", key: "unchanged" });
});

test("a document names the kind and the object", () => {
  expect(asYaml("services", [{ name: "a: b", value: { balancer: "random" } }])).toBe(`services:\n  "a: b":\n    balancer: random\n`);
});

test("a quote cannot end the shell's text", () => {
  const call = asCurl("services", "it's", { labels: { a: "';rm -rf /;'" } }, false);
  expect(call).toContain(String.raw`'{"labels":{"a":"'\'';rm -rf /;'\''"}}'`);
  expect(call).toContain("/services/it's".replace("'", String.raw`'\''`));
});

test("what is new is made by the call, and not thought to be there", () => {
  expect(asCurl("services", "a", {}, true)).toContain("'If-None-Match: *'");
  expect(asCurl("routes", "", {}, true)).toMatch(/^curl -X POST '[^']*\/admin\/v2\/routes' /);
});

test("texts that YAML 1.1 has another meaning for are quoted", () => {
  expect(asYaml("routes", [{ name: "a", value: { labels: { team: "no", on: "y", build: "1_000" } } }])).toMatch(/team: "no"\n +"on": "y"\n +build: "1_000"/);
});
