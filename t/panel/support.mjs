// What the panel's scenarios share: a browser that forgives nothing, logins, the API, screenshots.
//
// A scenario is `t/panel/<name>.mjs`, run by a test of `t/panel.rs` against a gateway of its own. By hand:
//   ADMIN=http://127.0.0.1:12000 GATEWAY=http://127.0.0.1:10000 TOKEN=… USER_NAME=admin PASSWORD=… node t/panel/<name>.mjs
// PANEL=http://127.0.0.1:10001/ takes the panel from `npx vite`. What it saw is in target/panel/<name>/.

import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const require = createRequire(path.join(root, "gateway/dashboard/package.json"));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

export const { ADMIN, GATEWAY, TOKEN, USER_NAME = "admin", PASSWORD } = process.env;
const PANEL = process.env.PANEL ?? `${ADMIN}/dashboard/`;
/** Nodes of a service, `host:port`, that answer each request with what they saw. */
export const NODES = (process.env.NODES ?? "127.0.0.1:1024,127.0.0.1:1025").split(",");
const PATIENCE = 20_000;

/** Calls the API with the token, and returns the answer's body; what is refused is thrown. */
export async function call(method, where, body, headers = {}) {
  const answer = await fetch(`${ADMIN}/admin/v2${where}`, {
    method,
    headers: { "X-Api-Token": TOKEN, ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

/** Makes a user, and returns the password. */
export async function makeUser(name, role, services) {
  return (await call("PUT", `/users/${name}`, { role, services })).password;
}

/** Makes a service with these nodes and a route to it, by the API. */
export async function makeRoute(name, prefix, nodes = NODES, more = {}) {
  await call("POST", "/apply", {
    services: { [name]: {} },
    routes: { [name]: { prefix, service_name: name, status: 1, protocol: "http", plugins: ["tracing"], ...more } },
  });
  for (const upstream of nodes) {
    await call("POST", "/nodes", { service_name: name, upstream, weight: 1, status: 1 });
  }
}

/** Sends a request through the gateway. */
export function send(target, init) {
  return fetch(`${GATEWAY}${target}`, init);
}

/** Waits until something holds, and returns it. */
export async function until(what, find) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await find();
    if (found) return found;
    if (Date.now() > end) throw new Error(`still not so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * Runs a scenario. It fails when something is thrown, a dialog opens, a script errs, or the page
 * tries what its policy forbids. Leaves a trace and a last picture of what went wrong.
 */
export async function scenario(name, run) {
  const folder = path.join(root, "target/panel", name);
  await mkdir(folder, { recursive: true });
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  const faults = [];
  const pages = [];
  let pictures = 0;
  const world = {
    /** A new visitor: own cookies, a language and a colour scheme. */
    async visitor({ locale = "en-US", colorScheme = "light", viewport = { width: 1440, height: 900 } } = {}) {
      const context = await browser.newContext({ locale, colorScheme, viewport });
      context.setDefaultTimeout(PATIENCE);
      await context.tracing.start({ screenshots: true, snapshots: true });
      const page = await context.newPage();
      pages.push(page);
      watch(page, faults);
      return page;
    },
    /** A picture, numbered in the order of the story. */
    async shot(page, what) {
      pictures += 1;
      await page.screenshot({ path: path.join(folder, `${String(pictures).padStart(2, "0")}-${what}.png`) });
    },
    /** A fault that this scenario brings about, such as a lost connection, is none. */
    forgive(pattern) {
      for (let i = faults.length - 1; i >= 0; i -= 1) if (pattern.test(faults[i])) faults.splice(i, 1);
    },
    browser,
    faults,
  };
  try {
    await run(world);
    if (faults.length > 0) throw new Error(`the page erred:\n${faults.join("\n")}`);
    console.log(`${name}: ok`);
  } catch (error) {
    console.error(`${name}: ${error.stack ?? error}`);
    if (faults.length > 0) console.error(`the page also erred:\n${faults.join("\n")}`);
    for (const [index, page] of pages.entries()) {
      if (page.isClosed()) continue;
      await page.screenshot({ path: path.join(folder, `failed-${index}.png`) }).catch(() => {});
      await writeFile(path.join(folder, `failed-${index}.html`), await page.content().catch(() => ""));
    }
    process.exitCode = 1;
  } finally {
    for (const [index, page] of pages.entries()) {
      await page.context().tracing.stop({ path: path.join(folder, `trace-${index}.zip`) }).catch(() => {});
    }
    await browser.close();
  }
}

function watch(page, faults) {
  page.on("dialog", async (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  page.on("pageerror", (error) => faults.push(`an error: ${error.stack ?? error}`));
  page.on("console", (message) => {
    const text = message.text();
    // An answer of 4xx is the panel's to show; the browser notes each.
    if (message.type() === "error" && !text.startsWith("Failed to load resource")) faults.push(`the console: ${text}`);
    if (message.type() === "warning" && text.includes("[Vue")) faults.push(`the console: ${text}`);
  });
}

/** Opens a place of the panel. */
export async function open(page, place = "/") {
  await page.goto(`${PANEL}#${place}`);
}

/** Logs in by the form, and waits for the panel. */
export async function logIn(page, user = USER_NAME, password = PASSWORD) {
  await open(page, "/login");
  await page.getByTestId("login-user").fill(user);
  await page.getByTestId("login-password").fill(password);
  await page.getByTestId("login-submit").click();
  await page.getByTestId("user-menu").waitFor();
}

/** Chooses an option of a list, by its text, and waits until the list has closed. */
export async function choose(page, testId, option) {
  await page.getByTestId(testId).click();
  const found = page.getByRole("option", { name: option }).locator("visible=true");
  await found.waitFor();
  // A list that is still coming to its place misses a click.
  await until(`${option} is chosen`, async () => {
    if (await found.isVisible()) await found.click({ timeout: 1000 }).catch(() => {});
    return !(await found.isVisible());
  });
}

/** Types an entry into a list that takes new ones, and closes it. */
export async function enter(page, testId, entry) {
  await page.getByTestId(testId).locator("input").fill(entry);
  const offered = page.getByRole("option", { name: entry, exact: true }).locator("visible=true");
  await offered.waitFor();
  await page.keyboard.press("Enter");
  await page.getByTestId(testId).getByText(entry, { exact: true }).waitFor();
  await page.keyboard.press("Tab");
  await offered.waitFor({ state: "hidden" });
}

/** Fails on what keeps people from using a page by keyboard or screen reader. */
export async function accessible(page, where) {
  await page.evaluate(axe.source);
  // What is fading in, or has just been enabled, has no contrast yet: what is wrong must stay so.
  let grave = [];
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const { violations } = await page.evaluate(async () => {
      const ending = document.getAnimations().filter((one) => one.effect?.getComputedTiming().iterations !== Infinity);
      await Promise.all(ending.map((one) => one.finished.catch(() => {})));
      return globalThis.axe.run(document, { resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] });
    });
    grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    if (grave.length === 0) return;
    await page.waitForTimeout(200);
  }
  const told = grave.map((v) => `${v.id} (${v.impact}): ${v.help}\n    ${v.nodes.map((n) => n.html).slice(0, 5).join("\n    ")}`);
  throw new Error(`${where} is not accessible:\n${told.join("\n")}`);
}
