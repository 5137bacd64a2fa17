// Makes a service, a node and a route with a plugin by clicks alone, sends a request through, edits, disables and deletes it.
import { NODES, accessible, call, logIn, open, scenario, send, until } from "./support.mjs";

const id = `crud${process.pid}`;

/** Reviews what saving would do, and saves. */
async function save(page) {
  await page.getByTestId("save").click();
  await page.getByTestId("review").waitFor();
  await page.getByTestId("save-confirm").click();
  await page.getByTestId("review").waitFor({ state: "hidden" });
}

await scenario("objects_crud", async ({ visitor, shot }) => {
  const page = await visitor();
  await logIn(page);

  await open(page, "/objects/services");
  await page.getByTestId("create").click();
  await page.getByTestId("name").fill(id);
  await save(page);
  await page.getByTestId("nodes").waitFor();
  await accessible(page, "a service");

  await page.getByTestId("add-node").click();
  await page.getByTestId("field-upstream").fill(NODES[0]);
  await save(page);
  await page.waitForURL(/objects\/nodes\/at\//);
  await accessible(page, "a node");

  await open(page, "/objects/routes");
  await page.getByTestId("create").click();
  await page.getByTestId("name").fill(id);
  await page.getByTestId("field-prefix").fill(`/${id}/*`);
  await page.getByTestId("field-service_name").fill(id);
  await page.keyboard.press("Escape");
  for (const plugin of ["tracing", "rewrite"]) {
    await page.getByLabel("Add a plugin").click();
    await page.getByRole("option", { name: new RegExp(plugin) }).click();
    await page.getByTestId(`plugin-${plugin}`).waitFor();
  }
  const rewrite = page.getByTestId("plugin-rewrite");
  await rewrite.locator("summary").click();
  await page.getByTestId("field-props.rewrite.regex").fill(`^/${id}`);
  await page.getByTestId("field-props.rewrite.replace").fill("/new");
  await page.getByLabel("Move rewrite up").click();
  await accessible(page, "a new route");
  await shot(page, "new-route");
  await page.getByTestId("save").click();
  await page.getByTestId("review").waitFor();
  await accessible(page, "the review");
  await shot(page, "review");
  await page.getByTestId("reason").fill("the first route");
  await page.getByTestId("save-confirm").click();
  await page.waitForURL(new RegExp(`objects/routes/at/${id}`));
  const stored = await call("GET", `/routes/${id}`);
  if (stored.plugins.join() !== "rewrite,tracing") throw new Error(`plugins: ${stored.plugins}`);
  await until("the route serves", async () => (await send(`/${id}/hello`)).status === 200);

  // Text: what is typed there is in the form.
  await page.getByRole("tab", { name: "YAML" }).click();
  await page.getByLabel("The object as YAML").waitFor();
  await accessible(page, "the text editor");
  await shot(page, "yaml");
  await page.getByRole("tab", { name: "Form" }).click();

  // Leaving asks; staying keeps.
  await page.getByTestId("field-prefix").fill(`/${id}-two/*`);
  await page.getByRole("link", { name: "← Routes" }).click();
  await page.getByRole("button", { name: "Stay" }).click();
  await page.getByRole("button", { name: "Stay" }).waitFor({ state: "hidden" });
  await save(page);
  await until("the new path serves", async () => (await send(`/${id}-two/hello`)).status === 200);

  await open(page, `/objects/routes?search=${id}`);
  const row = page.getByTestId(`row-${id}`);
  await row.waitFor();
  await accessible(page, "the list");
  await shot(page, "list");
  await row.getByRole("switch").press("Space");
  await until("the route is off", async () => (await call("GET", `/routes/${id}`)).status === 0);
  await row.locator(".el-switch:not(.is-checked)").waitFor();
  await row.getByRole("checkbox").check();
  await page.getByTestId("bulk-enable").click();
  await until("the route is on", async () => (await call("GET", `/routes/${id}`)).status === 1);
  await row.locator(".el-switch.is-checked").waitFor();
  await row.getByLabel(`Delete ${id}`).click();
  await page.getByTestId("delete-name").fill(id);
  await accessible(page, "the question before deleting");
  await shot(page, "delete");
  await page.getByTestId("delete-confirm").click();
  await row.waitFor({ state: "hidden" });
  await until("the route is gone", async () => (await send(`/${id}-two/hello`)).status === 404);
});
