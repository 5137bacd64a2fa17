// A node's weight is changed and a node is drained in its service, without touching what it declares.
import { NODES, accessible, call, logIn, makeRoute, open, scenario, until } from "./support.mjs";

const id = `overlay${process.pid}`;

await scenario("overlay", async ({ visitor, shot }) => {
  await makeRoute(id, `/${id}/*`);
  const nodes = (await call("GET", `/nodes?service_name=${id}`)).items;
  const nameOf = (upstream) => nodes.find(({ value }) => value.upstream === upstream).name;
  const overlayOf = async (upstream) => (await call("GET", "/node-overlays?limit=1000")).items.find(({ name }) => name === nameOf(upstream))?.value;
  const page = await visitor();
  await logIn(page);
  await open(page, `/objects/services/at/${id}`);
  const [one, two] = NODES.map((upstream) => page.getByTestId(`node-${upstream}`));
  await one.waitFor();

  await one.getByRole("spinbutton").fill("7");
  await one.getByRole("spinbutton").press("Enter");
  await until("the weight is 7", async () => (await overlayOf(NODES[0]))?.weight === 7);
  await one.getByLabel(`${NODES[0]} as declared again`).waitFor();

  await two.getByLabel(`State of ${NODES[1]}`).click();
  await page.getByRole("option", { name: "drain" }).click();
  await until("it drains", async () => (await overlayOf(NODES[1]))?.state === "drain");
  await accessible(page, "a service's nodes");
  await shot(page, "drained");

  await two.getByLabel(`${NODES[1]} as declared again`).click();
  await until("it is as declared", async () => (await overlayOf(NODES[1])) === undefined);
  const node = await call("GET", `/nodes/${nameOf(NODES[0])}`);
  if (node.weight !== 1) throw new Error(`the node itself was changed: ${JSON.stringify(node)}`);
});
