// A request is explained as a path; a change that is tried on it shows what differs, and is saved nowhere.
import assert from "node:assert/strict";
import { accessible, call, logIn, makeRoute, makeUser, open, scenario } from "./support.mjs";

await scenario("explain", async ({ visitor, shot }) => {
  const name = `explain-${process.pid}`;
  await makeRoute(name, `/${name}/*`);
  const page = await visitor();
  await logIn(page);
  await open(page, "/explain");
  await page.getByTestId("explain-url").fill(`http://shop.example.com/${name}/cart?id=7`);
  await page.getByTestId("explain-headers").fill("X-User: ann");
  await page.getByTestId("explain-ask").click();
  await page.locator('[data-testid="explain-outcome"][data-outcome="forwarded"]').waitFor();
  await page.locator('[data-testid="explain-candidate"][data-outcome="chosen"]', { hasText: `/${name}/*` }).waitFor();
  await page.getByTestId("explain-step-upstream").getByText(`GET /${name}/cart?id=7`).waitFor();
  await page.getByTestId("explain-step-upstream").getByText("x-user").waitFor();
  await accessible(page, "an explanation");
  await shot(page, "explained");

  // What is wrong is told at its field.
  await page.getByTestId("explain-client").fill("nowhere");
  await page.getByTestId("explain-ask").click();
  await page.locator(".el-form-item.client .el-form-item__error").waitFor();
  await shot(page, "refused");
  await page.getByTestId("explain-client").fill("203.0.113.7");

  // A draft: the route is loaded, and turned off.
  await page.locator('[data-testid="explain-change"]').click();
  await page.getByTestId("explain-name").fill(name);
  await page.getByTestId("explain-load").click();
  const editor = page.getByTestId("explain-value").locator(".cm-content");
  await editor.getByText(`"/${name}/*"`).waitFor();
  await editor.fill(JSON.stringify({ prefix: `/${name}/*`, service_name: name, status: 0 }));
  await page.getByTestId("explain-ask").click();
  const differs = page.getByTestId("explain-differs");
  await differs.waitFor();
  assert.match(await differs.getAttribute("data-differs"), /\boutcome\b.*\bcandidates\b/);
  await page.locator('[data-testid="explain-outcome"][data-outcome="refused"]').waitFor();
  await page.locator('[data-testid="explain-candidate"][data-outcome="disabled"]').waitFor();
  await accessible(page, "an explanation of a change");
  await shot(page, "with-a-change");
  assert.equal((await call("GET", `/routes/${name}`)).status, 1, "nothing is saved");

  // What cannot be saved is told at its field.
  await editor.fill(JSON.stringify({ prefix: "no slash", service_name: name }));
  await page.getByTestId("explain-ask").click();
  await page.getByTestId("explain-wrong").getByText("prefix").waitFor();

  // The link tells a colleague the same; a viewer is offered no change.
  const viewer = `${name}-viewer`;
  const password = await makeUser(viewer, "viewer");
  const other = await visitor({ locale: "zh-CN", colorScheme: "dark" });
  await logIn(other, viewer, password);
  await open(other, `/explain?url=${encodeURIComponent(`/${name}/x`)}&method=POST`);
  await other.locator('[data-testid="explain-outcome"][data-outcome="forwarded"]').waitFor();
  await other.getByTestId("explain-step-upstream").getByText(`POST /${name}/x`).waitFor();
  assert.equal(await other.getByTestId("explain-change").count(), 0);
  await accessible(other, "an explanation in the dark");
  await shot(other, "viewer-dark-zh");
});
