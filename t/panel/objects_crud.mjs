// A service, a node and a route with plugins are made by clicks; a request goes through; they are changed, switched off and deleted.
import { accessible, call, choose, logIn, NODES, open, scenario, send, until } from "./support.mjs";

const service = `clicks-${process.pid}`;

await scenario("objects_crud", async ({ visitor, shot }) => {
  const page = await visitor();
  await logIn(page);

  await open(page, "/objects/services");
  await page.getByTestId("create").click();
  await page.getByTestId("object-name").fill(service);
  await page.getByTestId("review-save").click();
  await page.getByTestId("reason").fill("made by clicks");
  await accessible(page, "the review");
  await shot(page, "review");
  await page.getByTestId("save").click();
  await page.getByRole("heading", { level: 1, name: service }).waitFor();

  await page.getByTestId("add-node").click();
  await page.getByTestId("field-upstream").fill(NODES[0]);
  await page.getByTestId("review-save").click();
  await page.getByTestId("save").click();
  await page.getByRole("heading", { level: 1, name: NODES[0] }).waitFor();

  await open(page, "/objects/routes");
  await page.getByTestId("create").click();
  await page.getByTestId("field-prefix").fill(`/${service}/*`);
  await choose(page, "field-service_name", service);
  await choose(page, "add-plugin", /^rewrite/);
  const rewrite = page.getByTestId("plugin-rewrite");
  await rewrite.getByTestId("field-regex").fill(`^/${service}/old/`);
  await rewrite.getByTestId("field-replace").fill(`/${service}/new/`);
  await accessible(page, "a new route");
  await shot(page, "new-route");
  await page.getByTestId("review-save").click();
  await page.getByTestId("save").click();
  await page.getByTestId("delete").waitFor();
  await shot(page, "route");

  const answer = await until("a request goes through", async () => {
    const answer = await send(`/${service}/old/x`);
    return answer.status === 200 ? answer : undefined;
  });
  const seen = await answer.text();
  if (!seen.includes(`/${service}/new/x`)) throw new Error(`the plugin did not rewrite: ${seen}`);

  await open(page, "/objects/services");
  await page.getByRole("link", { name: service, exact: true }).click();
  await page.getByTestId(`node-${NODES[0]}`).waitFor();
  await accessible(page, "a service");
  await shot(page, "service");

  // Switched off and on in the list.
  await open(page, `/objects/routes?search=${service}`);
  const row = page.getByRole("row").filter({ hasText: `/${service}/*` });
  await row.waitFor();
  await accessible(page, "routes");
  await shot(page, "routes");
  await row.locator(".el-switch").click();
  await until("the route is off", async () => (await send(`/${service}/old/x`)).status === 404);
  await row.locator(".el-switch").click();
  await until("the route is on", async () => (await send(`/${service}/old/x`)).status === 200);

  // Changed as YAML.
  await row.getByRole("link", { name: `/${service}/*` }).click();
  await page.getByRole("tab", { name: "YAML" }).click();
  const editor = page.getByTestId("source").locator(".cm-content");
  await editor.click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("remark: by hand\n");
  await shot(page, "yaml");
  await accessible(page, "a route as YAML");
  await page.getByTestId("review-save").click();
  await page.getByTestId("changes").getByText("remark").waitFor();
  await page.getByTestId("save").click();
  await until("it is stored", async () => (await call("GET", `/routes?search=${service}`)).items[0].value.remark === "by hand");

  // Deleted, with its name.
  await page.getByTestId("delete").click();
  await page.getByTestId("delete-name").fill("something else");
  if (await page.getByTestId("delete-confirm").isEnabled()) throw new Error("another name was taken");
  await page.getByTestId("delete-name").fill(`/${service}/*`);
  await accessible(page, "the question before something is deleted");
  await shot(page, "delete");
  await page.getByTestId("delete-confirm").click();
  await until("the route is gone", async () => (await call("GET", `/routes?search=${service}`)).total === 0);

  // Several at once.
  for (const name of ["a", "b"]) await call("PUT", `/services/${service}-${name}`, {});
  await open(page, `/objects/services?search=${service}-`);
  await page.getByRole("row").filter({ hasText: `${service}-b` }).waitFor();
  await page.locator(".el-table__header .el-checkbox").click();
  await page.getByTestId("bulk-delete").click();
  await page.getByTestId("delete-name").fill("2");
  await page.getByTestId("delete-confirm").click();
  await until("both are gone", async () => (await call("GET", `/services?search=${service}-`)).total === 0);
});
