// Many objects: pages, what is looked for in the address, what is chosen, and an entry that is typed and not entered.
import { call, logIn, open, scenario, until } from "./support.mjs";

const name = `many-${process.pid}`;

await scenario("lists", async ({ visitor, shot }) => {
  const route = { service_name: name, status: 1, protocol: "http" };
  const routes = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`${name}-${String(i).padStart(2, "0")}`, { ...route, prefix: `/${name}/${i}` }]));
  await call("POST", "/apply", { routes });
  const page = await visitor();
  await logIn(page);
  await open(page, `/objects/routes?search=${name}&size=10&page=2&sort=name`);
  const rows = page.getByTestId("objects").locator("tbody tr");
  await rows.first().waitFor();
  if ((await rows.count()) !== 1) throw new Error("the second page has another size");

  // The last one of the last page is deleted: the page before is shown.
  await rows.getByTestId("delete").click();
  const title = await rows.getByRole("link").first().textContent();
  await page.getByTestId("delete-name").fill(title);
  await page.getByTestId("delete-confirm").click();
  await until("the first page is shown", async () => (await rows.count()) === 10);
  await page.reload();
  await until("and again", async () => (await rows.count()) === 10);

  // All of a page are switched off at once, and then chosen no longer.
  await page.getByTestId("objects").locator("thead .el-checkbox").click();
  await page.getByTestId("bulk-off").click();
  await until("they are off", async () => (await call("GET", `/routes?search=${name}`)).items.every((item) => item.value.status === 0));
  await page.getByTestId("bulk-off").waitFor({ state: "detached" });
  await shot(page, "off");

  // The navigation leads to all of them.
  await page.getByRole("link", { name: "Routes", exact: true }).click();
  await until("nothing is looked for", async () => (await page.getByTestId("search").inputValue()) === "");
  await page.goBack();
  await until("it is looked for again", async () => (await page.getByTestId("search").inputValue()) === name);

  // A host that is typed, and left without Enter, counts: without it the route would serve all hosts.
  await open(page, `/objects/routes/at/${name}-00`);
  const hosts = page.getByTestId("field-hosts");
  await hosts.locator("input").fill("pasted.example");
  await page.keyboard.press("Enter");
  await hosts.getByText("pasted.example").waitFor();
  await hosts.locator("input").fill("shop.example");
  await page.getByTestId("field-prefix").click();
  await hosts.getByText("shop.example").waitFor();
  // What is no JSON is not left out of what is saved.
  await page.getByTestId("field-headers").fill("{");
  await until("it cannot be saved", () => page.getByTestId("review-save").isDisabled());
  await page.getByTestId("field-headers").fill('{"x-a": "b"}');
  await page.getByTestId("review-save").click();
  await page.getByTestId("save").click();
  const stored = await until("it is stored", async () => {
    const found = await call("GET", `/routes/${name}-00`);
    return found.hosts?.length === 2 && found;
  });
  if (stored.hosts.join() !== "pasted.example,shop.example" || stored.headers["x-a"] !== "b") throw new Error(JSON.stringify(stored));
});
