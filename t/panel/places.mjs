// The places of the panel, as its navigation and src/routes.ts name them; what no navigation leads to is given here.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { call, open } from "./support.mjs";

const ROUTES = fileURLToPath(new URL("../../gateway/dashboard/src/routes.ts", import.meta.url));

/** Where the navigation leads whoever is logged in. */
export async function navigation(page) {
  if (!(await page.locator("nav").first().isVisible())) await page.locator("header button").first().click();
  const links = await page.locator("nav a[href^='#']").evaluateAll((all) => all.map((a) => a.getAttribute("href").slice(1)));
  return [...new Set(links)];
}

/** All places that src/routes.ts has, with an example for each parameter. */
export async function places() {
  const text = await readFile(ROUTES, "utf8");
  const paths = [...text.matchAll(/path: "([^"]*)"/g)].map(([, path]) => `/${path.replace(/^\//, "")}`);
  const { items } = await call("GET", "/history?limit=1");
  const revision = items[0]?.revision ?? 1;
  const found = [];
  for (const path of new Set(paths)) {
    if (path === "/login") continue;
    for (const kind of path.includes(":kind") ? await kinds() : [undefined]) {
      const at = kind && path.includes(":name") ? (await first(kind)) : undefined;
      if (path.includes(":name") && at === undefined) continue;
      found.push(
        path
          .replace(":kind", kind)
          .replace(":name", encodeURIComponent(at))
          .replace(":revision", revision)
          .replace(/:rest.*$/, "no/such/place"),
      );
    }
  }
  return found;
}

/** The kinds of objects there are a navigation for. */
async function kinds() {
  const menu = await readFile(fileURLToPath(new URL("../../gateway/dashboard/src/layout/menu.ts", import.meta.url)), "utf8");
  return [...new Set([...menu.matchAll(/to: "\/objects\/([^"]+)"/g)].map(([, kind]) => kind))];
}

async function first(kind) {
  return (await call("GET", `/${kind}?limit=1`)).items[0]?.name;
}

/** Opens a place, and waits until it shows what it has read. */
export async function visit(page, place) {
  await open(page, place);
  await page.locator("main h1").first().waitFor();
  // What an unopened tab will read is not waited for.
  await page.waitForFunction(() =>
    [...document.querySelectorAll("main [aria-busy=true], main .el-loading-mask")].every((one) => !one.checkVisibility()),
  );
}
