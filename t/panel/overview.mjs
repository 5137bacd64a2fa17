// The overview tells what the gateway does: traffic shows as figures and by route, a node that is down is named with its service.
import { accessible, call, logIn, makeRoute, open, scenario, send, until } from "./support.mjs";

await scenario("overview", async ({ visitor, shot }) => {
  const name = `over-${process.pid}`;
  const sick = `sick-${process.pid}`;
  await makeRoute(name, `/${name}/*`);
  // No one listens on port 1; a check that fails once is enough.
  await call("PUT", `/services/${sick}`, {
    health: { active: { type: "tcp", timeout: "1s", unhealthy_interval: "1s", interval: "1s", failures: 1 } },
  });
  await call("POST", "/nodes", { service_name: sick, upstream: "127.0.0.1:1", weight: 1, status: 1 });
  await call("POST", "/routes", { prefix: `/${sick}/*`, service_name: sick, status: 1, protocol: "http", plugins: ["tracing"] });
  // More than others have sent by hand, so that it is among the busiest.
  await until("the route answers", async () => (await send(`/${name}/x`)).status === 200);
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(Array.from({ length: 10 }, async () => (await send(`/${name}/x`)).arrayBuffer()));
  }
  await until("the node is found out", async () => {
    await send(`/${sick}/x`).then((answer) => answer.arrayBuffer());
    const state = await call("GET", "/state/services");
    return state.services.some((one) => one.name === sick && one.nodes_up === 0);
  });

  const page = await visitor({ colorScheme: "light" });
  await logIn(page);
  await page.getByTestId("top-routes").getByRole("link", { name: `/${name}/*` }).waitFor();
  await page.getByTestId("top-services").getByRole("link", { name, exact: true }).waitFor();
  const rate = page.getByTestId("tile-rate");
  await until("the figures are there", async () => /[1-9]/.test(await rate.locator(".value").innerText()));
  const unhealthy = page.getByTestId("unhealthy");
  await unhealthy.getByRole("link", { name: sick }).waitFor();
  await unhealthy.getByText("127.0.0.1:1", { exact: true }).first().waitFor();
  await page.getByTestId("latest").getByRole("link").first().waitFor();
  await page.getByTestId("gateways").getByText("ready").first().waitFor();
  await page.getByTestId("charts").locator("canvas").nth(2).waitFor();
  await shot(page, "light");
  await accessible(page, "the overview in light colours");

  // What the charts show, as a table.
  await page.getByTestId("charts").getByRole("switch").first().press("Space");
  await page.getByTestId("charts").getByRole("table").first().waitFor();
  await accessible(page, "a chart as a table");

  // It looks again by itself.
  const stamp = page.getByTestId("as-of");
  const before = await stamp.innerText();
  await until("it looks again", async () => (await stamp.innerText()) !== before);

  await unhealthy.getByRole("link", { name: sick }).click();
  await page.waitForURL(new RegExp(`#/objects/services/at/${sick}$`));
  await open(page, "/");
  await page.getByTestId("latest").getByRole("link").first().click();
  await page.waitForURL(/#\/history\/\d+$/);

  const dark = await visitor({ colorScheme: "dark", locale: "zh-CN" });
  await logIn(dark);
  await dark.getByTestId("unhealthy").getByRole("link", { name: sick }).waitFor();
  await dark.getByTestId("top-routes").waitFor();
  await shot(dark, "dark");
  await accessible(dark, "the overview in dark colours");
});
