// A change by the API appears in the history, is compared, and rolled back; the state is as before.
import assert from "node:assert/strict";
import { accessible, call, logIn, makeUser, open, scenario, until } from "./support.mjs";

await scenario("history", async ({ visitor, shot }) => {
  const name = `history-${process.pid}`;
  const declare = (prefix, reason) => {
    const route = { prefix, service_name: name, status: 1, plugins: ["tracing"], labels: { "team.of": name } };
    return call("POST", `/apply?reason=${encodeURIComponent(reason)}`, { services: { [name]: {} }, routes: { [name]: route } });
  };
  const first = await declare(`/${name}/*`, "it begins");
  const page = await visitor();
  await logIn(page);
  await open(page, "/history");
  await page.locator(`tr[data-revision="${first.revision}"]`, { hasText: "it begins" }).waitFor();

  // A change while the list is open appears by itself.
  const second = await declare(`/${name}-moved/*`, "<b>moved</b>");
  const row = page.locator(`tr[data-revision="${second.revision}"]`);
  await row.getByText("<b>moved</b>", { exact: true }).waitFor();
  await row.getByText(name, { exact: true }).waitFor();
  await accessible(page, "the history");
  await shot(page, "history");

  // Filters; they are in the address.
  await page.getByTestId("history-name").fill(name);
  await page.getByTestId("history-name").press("Enter");
  await until("only its own are shown", async () => (await page.locator("tr[data-revision]").count()) === 2);
  assert.match(page.url(), new RegExp(`name=${name}`));

  // Any two are compared.
  await page.locator(`tr[data-revision="${first.revision}"] input`).check();
  await row.locator("input").check();
  await page.getByTestId("history-compare").click();
  await page.getByTestId("history-compared").getByText(`/${name}-moved/*`).waitFor();
  await accessible(page, "a comparison");
  await shot(page, "compared");

  // One of them: its fields, and the whole side by side.
  await row.getByRole("link").first().click();
  const fields = page.getByTestId("changes");
  await fields.getByText("prefix", { exact: true }).waitFor();
  await fields.getByText(`/${name}/*`, { exact: true }).waitFor();
  await page.getByRole("tab").nth(1).click();
  await page.getByTestId("revision-diff").getByText(`team.of`).first().waitFor();
  await page.getByTestId("revision-diff").getByText(`/${name}-moved/*`).waitFor();
  await accessible(page, "a revision");
  await shot(page, "revision");

  // The way back: what it would change is shown first, and nothing is done before one says so.
  await page.getByTestId("restore-before").click();
  const dialog = page.getByTestId("restore-dialog");
  await dialog.getByText(`/${name}-moved/*`).waitFor();
  await accessible(page, "a roll-back");
  await shot(page, "dry-run");
  assert.equal((await call("GET", `/routes/${name}`)).prefix, `/${name}-moved/*`);
  await dialog.getByTestId("reason").fill("it was better before");
  // What somebody changes between the look and the click is not taken back unseen.
  const meanwhile = await call("PATCH", `/routes/${name}`, { remark: "meanwhile" });
  await page.getByTestId("restore-go").click();
  await dialog.getByText("meanwhile", { exact: false }).first().waitFor();
  assert.equal((await call("GET", `/routes/${name}`)).remark, "meanwhile");
  const restored = meanwhile.revision + 1;
  await page.getByTestId("restore-go").click();
  await page.waitForURL(new RegExp(`/history/${restored}$`));
  await page.getByText("it was better before").waitFor();
  assert.equal((await call("GET", `/routes/${name}`)).prefix, `/${name}/*`);
  const between = await call("GET", `/history/diff?from=${first.revision}&to=${restored}`);
  assert.deepEqual(between.changes, [], "the state is as before");
  const made = await call("GET", `/history/${restored}`);
  assert.deepEqual([made.author.origin, made.restored, made.reason], ["panel", first.revision, "it was better before"]);
  await shot(page, "rolled-back");

  // Who may only look is offered no way back.
  const viewer = `${name}-viewer`;
  const password = await makeUser(viewer, "viewer");
  const other = await visitor({ locale: "zh-CN", colorScheme: "dark" });
  await logIn(other, viewer, password);
  await open(other, `/history/${second.revision}`);
  await other.getByTestId("changes").getByText(`/${name}-moved/*`).waitFor();
  assert.equal(await other.getByTestId("restore-before").count(), 0);
  await accessible(other, "a revision in the dark");
  await open(other, "/history");
  await other.locator(`tr[data-revision="${second.revision}"]`).waitFor();
  await accessible(other, "the history in the dark");
  await shot(other, "viewer-dark-zh");
});
