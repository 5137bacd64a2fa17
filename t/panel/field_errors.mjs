// What the gateway refuses is shown at the field it concerns, however deep, and what was typed stays.
import { accessible, call, logIn, open, scenario } from "./support.mjs";

const id = `wrong${process.pid}`;

await scenario("field_errors", async ({ visitor, shot }) => {
  const page = await visitor();
  await logIn(page);

  await open(page, `/objects/nodes/new?service_name=${id}`);
  await page.getByTestId("field-upstream").fill("nowhere");
  await page.getByTestId("save").click();
  await page.getByTestId("error-upstream").waitFor();
  await accessible(page, "a field that is wrong");
  await shot(page, "node");
  await page.getByTestId("field-upstream").fill("127.0.0.1:9");
  await page.getByTestId("save").click();
  await page.getByTestId("review").waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();

  // A setting of a plugin.
  await call("PUT", `/routes/${id}`, { prefix: `/${id}`, service_name: id, plugins: ["rewrite"], props: { rewrite: { regex: "a", replace: "b" } } });
  await open(page, "/objects/routes");
  await page.getByRole("button", { name: "Leave", exact: true }).click();
  await page.getByTestId("objects").waitFor();
  await open(page, `/objects/routes/at/${id}`);
  await page.getByTestId("field-props.rewrite.regex").fill("(");
  await page.getByTestId("save").click();
  await page.getByTestId("error-props.rewrite.regex").waitFor();
  await shot(page, "plugin");

  // A name that is taken.
  await open(page, "/objects/services");
  await page.getByRole("button", { name: "Leave", exact: true }).click();
  await call("PUT", `/services/${id}`, {});
  await page.getByTestId("create").click();
  await page.getByTestId("name").fill(id);
  await page.getByTestId("save").click();
  await page.getByTestId("error-name").waitFor();

  // Deep in what was folded away.
  await page.getByTestId("name").fill(`${id}-other`);
  await page.getByTestId("advanced").locator("summary").first().click();
  await page.getByTestId("field-slow_start").fill("soon");
  await page.getByTestId("save").click();
  await page.getByTestId("error-slow_start").waitFor();
  await shot(page, "advanced");
  await accessible(page, "the advanced fields");
});
