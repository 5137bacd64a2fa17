// The whole of it, as a person who has just started a gateway: log in with the printed password, make a
// service, a node and a route with a plugin, send requests and watch them, break it, ask why, roll back.
import assert from "node:assert/strict";
import { choose, logIn, NODES, open, scenario, send, until } from "./support.mjs";

const service = "shop";

await scenario("whole", async ({ visitor, shot }) => {
  const page = await visitor();
  await logIn(page);
  await shot(page, "first-sight");

  async function save() {
    await page.getByTestId("review-save").click();
    await page.getByTestId("save").click();
  }

  await open(page, "/objects/services/new");
  await page.getByTestId("object-name").fill(service);
  await save();
  for (const node of NODES) {
    await open(page, `/objects/services/at/${service}`);
    await page.getByTestId("add-node").click();
    await page.getByTestId("field-upstream").fill(node);
    await save();
    await page.getByRole("heading", { level: 1, name: node }).waitFor();
  }
  await open(page, "/objects/routes/new");
  await page.getByTestId("field-prefix").fill("/shop/*");
  await choose(page, "field-service_name", service);
  await choose(page, "add-plugin", /^rewrite/);
  await page.getByTestId("plugin-rewrite").getByTestId("field-regex").fill("^/shop/");
  await page.getByTestId("plugin-rewrite").getByTestId("field-replace").fill("/");
  await shot(page, "the-route");
  await save();
  await page.getByTestId("delete").waitFor();
  const routeUrl = page.url();
  await until("requests go through", async () => (await send("/shop/cart")).status === 200);

  // Watched as they come.
  await open(page, "/requests");
  await page.locator('[data-testid="stream-state"][data-state="open"]').waitFor();
  await send("/shop/cart?item=7");
  await page.getByText("/shop/cart?item=7").first().waitFor();
  await shot(page, "watched");
  await open(page, `/objects/services/at/${service}`);
  await page.getByTestId(`node-${NODES[0]}`).getByText("healthy").waitFor();
  await shot(page, "the-service");

  // Broken: the route is sent to a service that is not there.
  await page.goto(routeUrl);
  await page.getByTestId("field-service_name").click();
  await page.keyboard.press("Control+A");
  await page.keyboard.type("shopp");
  await page.keyboard.press("Enter");
  await page.getByTestId("review-save").click();
  await page.getByTestId("warnings").getByText("shopp").waitFor();
  await shot(page, "warned");
  await page.getByTestId("reason").fill("a slip of the finger");
  await page.getByTestId("save").click();
  await until("it is broken", async () => (await send("/shop/cart")).status === 502);

  // Why?
  await open(page, "/explain");
  await page.getByTestId("explain-url").fill("/shop/cart");
  await page.getByTestId("explain-ask").click();
  await page.getByTestId("explanation").getByText("shopp").first().waitFor();
  await shot(page, "explained");

  // Back.
  await open(page, "/history");
  await page.locator("tr[data-revision]", { hasText: "a slip of the finger" }).getByRole("link").first().click();
  await page.getByTestId("restore-before").click();
  await page.getByTestId("restore-dialog").getByText("shopp").first().waitFor();
  await shot(page, "rolling-back");
  await page.getByTestId("restore-go").click();
  await until("requests go through again", async () => (await send("/shop/cart")).status === 200);
  await open(page, "/history");
  await shot(page, "history");
  const overview = page.getByRole("link", { name: "Overview" });
  await overview.click();
  assert.equal(await page.getByRole("heading", { level: 1 }).count(), 1);
  await shot(page, "overview");
});
