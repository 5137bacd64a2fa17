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
  const call = asCurl("PUT", "services", "it's", { labels: { a: "';rm -rf /;'" } });
  expect(call).toContain(String.raw`'{"labels":{"a":"'\'';rm -rf /;'\''"}}'`);
  expect(call).toContain("/services/it's".replace("'", String.raw`'\''`));
});
