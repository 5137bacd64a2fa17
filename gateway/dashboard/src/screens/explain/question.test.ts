import { expect, test } from "vitest";
import { asCommand, asCurl, emptyForm, fromQuery, hasSecrets, question, quoted, toQuery } from "./question";

const typed = {
  ...emptyForm(),
  method: "POST",
  url: "/a?b=it's",
  headers: "X-User: ann\nX-Many: 1\n\nX-Many: 2\nAuthorization: Bearer s3cret",
  clientIp: "203.0.113.7",
};

test("a header that comes more than once is a list", () => {
  expect(question(typed).headers).toEqual({ "X-User": "ann", "X-Many": ["1", "2"], Authorization: "Bearer s3cret" });
});

test("a link tells the question again, without what looks like a secret", () => {
  const query = toQuery(typed);
  expect(JSON.stringify(query)).not.toContain("s3cret");
  expect(fromQuery(query as never)).toEqual({ ...typed, headers: "X-User: ann\nX-Many: 1\nX-Many: 2" });
  expect(hasSecrets(typed)).toBe(true);
});

test("a link tells of a draft", () => {
  const draft = { ...typed, headers: "", hasChange: true, kind: "services", name: "shop", value: '{"balancer":"hash"}' };
  expect(fromQuery(toQuery(draft) as never)).toEqual(draft);
  expect(question(draft).change).toEqual({ path: "services/shop", value: { balancer: "hash" } });
  expect(question({ ...draft, deletes: true }).change).toEqual({ path: "services/shop", value: null });
});

test("nothing that was typed becomes shell", () => {
  expect(quoted("/a b")).toBe("'/a b'");
  expect(quoted("'; rm -rf $HOME")).toBe(`''\\''; rm -rf $HOME'`);
  expect(asCommand({ ...emptyForm(), url: "/a?$(id)" }, "http://g:1")).toBe("ws-cloud-gateway explain --url http://g:1 -- '/a?$(id)'");
  expect(asCurl({ ...emptyForm(), url: "/it's" }, "http://g:1")).toContain(`-d '{"method":"GET","url":"/it'\\''s"}'`);
});
