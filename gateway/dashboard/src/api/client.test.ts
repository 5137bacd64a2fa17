import { createPinia, setActivePinia } from "pinia";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { useSession } from "@/stores/session";
import { call } from "./client";
import { isWithin, Problem } from "./problem";

const me = { name: "ann", role: "admin", services: null };
let asked: { method: string; csrf: string | null }[];

/** Answers writes as told, one after the other, and tells the session of this token. */
function serve(token: string, answers: Response[]) {
  vi.stubGlobal("fetch", async (target: string, init: RequestInit) => {
    if (target.endsWith("/me")) return Response.json({ ...me, csrf_token: token });
    asked.push({ method: init.method ?? "GET", csrf: new Headers(init.headers).get("X-CSRF-Token") });
    return answers.shift();
  });
}
const forged = () => Response.json({ title: "Forbidden", status: 403, detail: "" }, { status: 403 });

beforeEach(() => {
  setActivePinia(createPinia());
  asked = [];
});
afterEach(() => vi.unstubAllGlobals());

test("a write whose token is of an earlier login is sent once more with that of now", async () => {
  useSession().csrf = "old";
  serve("new", [forged(), Response.json({})]);
  expect((await call("PUT", "/routes/a", { body: {} })).status).toBe(200);
  expect(asked.map(({ csrf }) => csrf)).toEqual(["old", "new"]);
});

test("what is refused with the token of now is not sent again", async () => {
  useSession().csrf = "same";
  serve("same", [forged()]);
  await expect(call("PUT", "/routes/a", { body: {} })).rejects.toBeInstanceOf(Problem);
  expect(asked).toHaveLength(1);
});

test("a version that a proxy made a weak one is still one that conditions take", async () => {
  serve("", [Response.json({}, { headers: { ETag: 'W/"12"' } })]);
  expect((await call("GET", "/routes/a")).etag).toBe('"12"');
});

test("a field has what is in it, and its name is not told twice", () => {
  expect([isWithin("a.b", "a"), isWithin("a[0]", "a"), isWithin("a", "a"), isWithin("ab", "a")]).toEqual([true, true, true, false]);
  const problem = new Problem({ title: "", status: 422, detail: "", errors: [{ field: "a", detail: "a: is wrong" }] });
  expect(problem.errors).toEqual([{ field: "a", detail: "is wrong" }]);
});
