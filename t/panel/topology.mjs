// The topology shows which routes lead where, and how that is: by mouse, by keyboard and as a table.
import { accessible, call, logIn, makeRoute, NODES, open, scenario, send, until } from "./support.mjs";

await scenario("topology", async ({ visitor, shot }) => {
  const name = `topo-${process.pid}`;
  const lost = `lost-${process.pid}`;
  await makeRoute(name, `/${name}/*`);
  await call("POST", "/apply", {
    routes: { [lost]: { prefix: `/${lost}/*`, service_name: lost, status: 1, protocol: "http", plugins: [] } },
  });
  await until("the route answers", async () => (await send(`/${name}/x`)).status === 200);

  const page = await visitor({ colorScheme: "light" });
  await logIn(page);
  await open(page, "/topology");
  const graph = page.getByTestId("graph");
  await graph.waitFor();
  await shot(page, "all");
  const filter = page.getByRole("textbox", { name: "Filter by name" });
  await filter.fill(String(process.pid));
  const box = (layer) => graph.getByTestId(`box-${layer}`);
  await until("only ours are drawn", async () => (await box("service").count()) === 2);
  if ((await box("route").count()) !== 2 || (await box("node").count()) !== NODES.length) throw new Error("boxes are missing");

  // A service without nodes is told by a word, not by its colour alone.
  await graph.getByRole("link", { name: `Service ${lost} no nodes` }).waitFor();
  await graph.getByRole("link", { name: `Service ${name} healthy` }).waitFor();

  // The keyboard lights the path of a route, and opens it.
  const route = graph.getByRole("link", { name: `Route /${name}/*` });
  await route.focus();
  await until("the path is lit", async () => (await graph.locator(".line.lit").count()) === 1 + NODES.length);
  await shot(page, "lit");
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(`#/objects/routes/at/${name}$`));
  await page.goBack();
  await graph.waitFor();
  await accessible(page, "the topology in light colours");

  await graph.getByRole("link", { name: `Service ${name}` }).first().click();
  await page.waitForURL(new RegExp(`#/objects/services/at/${name}$`));
  await page.goBack();

  await page.getByRole("switch", { name: "As a table" }).press("Space");
  const table = page.getByTestId("topology-list");
  await table.getByRole("link", { name: `/${name}/*` }).waitFor();
  await accessible(page, "the topology as a table");
  await page.getByRole("textbox", { name: "Filter by name" }).fill("no-such-thing");
  await page.getByText("Nothing matches.").waitFor();

  const dark = await visitor({ colorScheme: "dark", locale: "zh-CN" });
  await logIn(dark);
  await open(dark, "/topology");
  await dark.getByRole("textbox", { name: "按名称筛选" }).fill(String(process.pid));
  await dark.getByTestId("graph").getByRole("link", { name: lost }).first().waitFor();
  await shot(dark, "dark");
  await accessible(dark, "the topology in dark colours");
});
