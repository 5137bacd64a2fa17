// What is typed is not lost on the way: to another object, out of the panel, from a text that cannot be read to another
// form of it. What is refused is told, though its group was closed. What a colleague says of a node stays.
import { call, logIn, makeRoute, NODES, open, scenario, until } from "./support.mjs";

const name = `unsaved-${process.pid}`;

await scenario("unsaved", async ({ visitor, shot }) => {
  await makeRoute(name, `/${name}/*`);
  const page = await visitor();
  await logIn(page);
  await open(page, `/objects/services?search=${name}`);
  await page.getByRole("link", { name, exact: true }).click();
  const typed = page.getByTestId("field-slow_start");
  await typed.fill("7s");
  const question = page.locator(".el-message-box");
  async function stays() {
    await question.waitFor();
    await question.locator(".el-message-box__btns button").first().click();
    await question.waitFor({ state: "hidden" });
    if ((await typed.inputValue()) !== "7s") throw new Error("what was typed is gone");
  }
  await page.getByTestId(`node-${NODES[0]}`).getByRole("link").click();
  await shot(page, "asked");
  await stays();
  await page.goBack();
  await stays();
  await until("the address is of what is shown", () => page.url().endsWith(`/objects/services/at/${name}`));
  await page.getByTestId("user-menu").click();
  await page.getByTestId("logout").click();
  await stays();
  await call("GET", "/me");

  // A text that cannot be read is not left behind.
  await page.getByRole("tab", { name: "YAML" }).click();
  await page.getByTestId("source").locator(".cm-content").click();
  await page.keyboard.press("Control+End");
  await page.keyboard.type("health: @soon");
  await page.getByRole("tab", { name: "JSON" }).click();
  const text = page.getByTestId("source").locator(".cm-content");
  await text.getByText("health: @soon").waitFor();
  await text.click();
  await page.keyboard.press("Control+End");
  for (const _ of "@soon") await page.keyboard.press("Backspace");
  // The editor closes brackets itself.
  await page.keyboard.type("{active: {interval: soon");
  await page.getByRole("tab", { name: "Form" }).click();
  await page.getByTestId("review-save").click();
  await page.getByTestId("error-health.active.interval").waitFor();
  await shot(page, "refused");
  await page.getByTestId("field-health.active.interval").fill("5s");

  // A colleague drains the node meanwhile; another weight leaves it so.
  const { items } = await call("GET", `/nodes?service_name=${name}`);
  const node = items.find((item) => item.value.upstream === NODES[0]).name;
  await call("PUT", `/node-overlays/${node}`, { state: "drain" }, { "If-None-Match": "*" });
  await page.getByTestId(`node-${NODES[0]}`).getByRole("slider").focus();
  await page.keyboard.press("ArrowRight");
  const overlay = await until("it has another weight", async () => {
    const found = await call("GET", `/node-overlays/${node}`);
    return found.weight > 1 && found;
  });
  if (overlay.state !== "drain") throw new Error(`the colleague's word is gone: ${JSON.stringify(overlay)}`);

  await page.getByTestId("review-save").click();
  await page.getByTestId("save").click();
  await until("it is stored", async () => (await call("GET", `/services/${name}`)).slow_start === "7s");

  // Before it is deleted it is told what depends on it, and the name can be typed at once.
  await page.getByTestId("delete").click();
  await page.getByTestId("still-used").waitFor();
  await until("the field has the focus", () => page.getByTestId("delete-name").evaluate((field) => field === document.activeElement));
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await until("it is gone", async () => (await call("GET", `/services?search=${name}`)).total === 0);
});
