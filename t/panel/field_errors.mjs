// What the server refuses is told at the field it concerns, and nothing is stored.
import { accessible, call, choose, logIn, open, scenario } from "./support.mjs";

const name = `wrong-${process.pid}`;

await scenario("field_errors", async ({ visitor, shot }) => {
  const page = await visitor({ colorScheme: "dark" });
  await logIn(page);
  await open(page, "/objects/services/new");
  await page.getByTestId("object-name").fill(name);
  await page.getByTestId("group-failing").locator("summary").click();
  await page.getByTestId("field-health.active.interval").fill("soon");
  await page.getByTestId("review-save").click();
  await page.getByTestId("error-health.active.interval").getByText(/5s|duration|time/i).waitFor();
  await accessible(page, "a refused service, dark");
  await shot(page, "service");
  if ((await call("GET", `/services?search=${name}`)).total !== 0) throw new Error("it was stored");

  await page.getByTestId("field-health.active.interval").fill("5s");
  await page.getByTestId("review-save").click();
  await page.getByTestId("save").click();
  await page.getByRole("heading", { level: 1, name }).waitFor();

  // A name that is taken.
  await open(page, "/objects/services/new");
  await page.getByTestId("object-name").fill(name);
  await page.getByTestId("review-save").click();
  await page.getByTestId("error-name").waitFor();
  await page.getByTestId("object-name").fill("");

  // A plugin's setting.
  await open(page, "/objects/routes/new");
  await page.getByTestId("field-prefix").fill(`/${name}/*`);
  await choose(page, "field-service_name", name);
  await choose(page, "add-plugin", /^rewrite/);
  await page.getByTestId("plugin-rewrite").getByTestId("field-regex").fill("(");
  await page.getByTestId("review-save").click();
  await page.getByTestId("plugin-rewrite").getByRole("alert").first().waitFor();
  await shot(page, "plugin");
});
