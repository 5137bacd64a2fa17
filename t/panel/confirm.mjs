// A change that takes itself back: the banner counts down; one is confirmed and stays, another is taken back at once.
import assert from "node:assert/strict";
import { accessible, call, logIn, open, scenario, until } from "./support.mjs";

await scenario("confirm", async ({ visitor, shot }) => {
  const name = `confirm-${process.pid}`;
  const page = await visitor();
  await logIn(page);
  await open(page, "/transfer?tab=import");

  async function apply(prefix) {
    const route = { prefix, service_name: name, status: 1 };
    await page.getByTestId("import-document").locator(".cm-content").fill(JSON.stringify({ services: { [name]: {} }, routes: { [name]: route } }));
    await page.getByTestId("import-check").click();
    await page.getByTestId("import-checked").getByText(prefix).first().waitFor();
    await page.getByTestId("reason").fill("may cut me off");
    const isChosen = page.getByTestId("confirm-within").getByText(/5/);
    if ((await isChosen.count()) === 0) {
      await page.getByTestId("confirm-within").click();
      await page.locator(".el-select-dropdown__item:visible", { hasText: /^5/ }).click();
      await isChosen.waitFor();
    }
    await page.getByTestId("import-apply").click();
    await page.getByTestId("import-applied").waitFor();
    const { items } = await call("GET", "/history/pending");
    return items.find(({ keys }) => keys.some((key) => key.endsWith(name))).revision;
  }

  const first = await apply(`/${name}/*`);
  const banner = page.getByTestId("pending").filter({ hasText: String(first) });
  await banner.waitFor();
  const before = await banner.innerText();
  await until("it counts down", async () => (await banner.innerText()) !== before);
  await accessible(page, "a change that waits");
  await shot(page, "counts-down");
  // Nobody else changes it until then.
  await assert.rejects(call("PATCH", `/routes/${name}`, { remark: "mine" }), /409/);
  await banner.getByTestId("pending-confirm").click();
  await banner.waitFor({ state: "detached" });
  assert.equal((await call("GET", `/routes/${name}`)).prefix, `/${name}/*`);
  assert.deepEqual((await call("GET", "/history/pending")).items.filter(({ revision }) => revision === first), []);

  // Another one, looked at in the history, and taken back.
  const second = await apply(`/${name}-wrong/*`);
  await page.getByTestId("pending").filter({ hasText: String(second) }).getByRole("link").click();
  await page.getByTestId("revision-pending").waitFor();
  await page.getByTestId("changes").getByText(`/${name}-wrong/*`).waitFor();
  await accessible(page, "a revision that waits");
  await shot(page, "waits");
  await page.getByTestId("revision-undo").click();
  await page.getByTestId("revision-pending").waitFor({ state: "detached" });
  assert.equal((await call("GET", `/routes/${name}`)).prefix, `/${name}/*`, "it is as before");
  await open(page, `/history?name=${name}`);
  await page.locator(`tr[data-revision="${second + 1}"]`).waitFor();
  await shot(page, "taken-back");

  // One that nobody confirms: that it is over is told, and stays to be read.
  const { revision } = await call("PUT", `/services/${name}?confirm_within=8s`, { max_tries: 2 }, { "If-Match": "*" });
  await page.getByTestId("pending").filter({ hasText: String(revision) }).waitFor();
  await page.locator(".el-message").getByText(String(revision)).waitFor();
  assert.equal((await call("GET", `/services/${name}`)).max_tries, undefined);
});
