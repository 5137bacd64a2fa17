// An operator gives a node another weight, drains it, and goes back to its own.
import { call, logIn, makeRoute, NODES, open, scenario, send, until } from "./support.mjs";

const name = `overlay-${process.pid}`;

await scenario("overlay", async ({ visitor, shot }) => {
  await makeRoute(name, `/${name}/*`);
  await until("both nodes answer", async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => send(`/${name}/x`)));
    return answers.every((answer) => answer.status === 200);
  });
  const page = await visitor();
  await logIn(page);
  await open(page, `/objects/services/at/${name}`);
  const row = page.getByTestId(`node-${NODES[0]}`);
  await row.locator(".el-select__wrapper").click();
  await page.getByRole("option", { name: "drain" }).click();
  const overlays = async () => (await call("GET", `/node-overlays?search=${name}`)).items;
  await until("it is drained", async () => (await overlays())[0]?.value.state === "drain");
  await row.getByText("drained", { exact: true }).waitFor();
  await shot(page, "drained");

  // By keyboard, as people without a mouse do.
  await row.getByRole("slider").focus();
  await page.keyboard.press("ArrowRight");
  await until("it has another weight", async () => (await overlays())[0]?.value.weight > 1);
  await row.getByRole("button").last().click();
  await until("the overlay is gone", async () => (await overlays()).length === 0);
});
