// Requests appear as they are answered, are filtered and held, and open whole; no secret is shown.
import { accessible, call, logIn, makeRoute, NODES, open, scenario, send, until } from "./support.mjs";

const name = `live${process.pid}`;
const prefix = `/${name}`;
const canary = `canary${process.pid}`;

await scenario("live_requests", async ({ visitor, shot }) => {
  await makeRoute(name, `${prefix}/*`, NODES.slice(0, 1));
  await until("the route is live", async () => (await send(`${prefix}/ready`)).status === 200);
  const page = await visitor();
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await logIn(page);
  await open(page, "/requests");
  const isWatching = () => page.locator('[data-testid="stream-state"][data-state="open"]').waitFor();
  const request = (text) => page.getByTestId("request").filter({ hasText: text });
  await isWatching();

  // Watched.
  await send(`${prefix}/one?token=${canary}&a=1`, { headers: { Authorization: `Bearer ${canary}`, Cookie: `id=${canary}`, "X-Seen": "yes" } });
  await request(`${prefix}/one`).waitFor();
  await shot(page, "watched");
  await accessible(page, "watched requests");

  // Opened.
  await request(`${prefix}/one`).getByRole("button").click();
  const drawer = page.getByTestId("request-drawer");
  await drawer.getByTestId("received").getByText("X-Seen", { exact: false }).waitFor();
  await drawer.getByTestId("sent").getByText("added").first().waitFor();
  await drawer.getByText(NODES[0], { exact: true }).waitFor();
  await drawer.getByTestId("waterfall").getByText("In the gateway").waitFor();
  await drawer.getByTestId("response").waitFor();
  await shot(page, "opened");
  await accessible(page, "an opened request");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.locator("html.dark").waitFor();
  await shot(page, "opened-dark");
  await accessible(page, "an opened request, dark");
  await page.emulateMedia({ colorScheme: "light" });

  // No secret, neither on the page nor in what is copied.
  await drawer.getByTestId("copy-curl").click();
  await page.getByText("Copied").first().waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  for (const part of [`${prefix}/one?token=[redacted]&a=1`, "X-Seen: yes", "# [redacted] stands for", "Authorization: [redacted]"]) {
    if (!copied.toLowerCase().includes(part.toLowerCase())) throw new Error(`the command has no ${part}:\n${copied}`);
  }
  if (`${copied}${await page.content()}`.includes(canary)) throw new Error("a secret is shown");
  const link = await drawer.getByTestId("explain").getAttribute("href");
  if (!/explain\?method=GET&url=http/.test(link)) throw new Error(`explained by ${link}`);
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "hidden" });

  // Paused: what comes is held, and shown when it goes on.
  await page.getByTestId("pause").click();
  await send(`${prefix}/held`);
  await page.getByTestId("resume").getByText(/\(\d+ new\)/).waitFor();
  if ((await request(`${prefix}/held`).count()) > 0) throw new Error("shown while paused");
  await page.getByTestId("resume").click();
  await request(`${prefix}/held`).waitFor();

  // Filtered: by path and status, kept in the address.
  await page.getByTestId("filter-path").fill(`${prefix}/wanted`);
  await page.getByTestId("filter-path").press("Enter");
  await page.waitForURL(/path=/);
  await page.getByText("No request yet").waitFor();
  await isWatching();
  await send(`${prefix}/other`);
  await send(`${prefix}/wanted`);
  await request(`${prefix}/wanted`).waitFor();
  if ((await request(`${prefix}/other`).count()) > 0) throw new Error("the filter lets others through");
  await page.reload();
  await isWatching();
  if ((await page.getByTestId("filter-path").inputValue()) !== `${prefix}/wanted`) throw new Error("the filter is lost");

  // A filter that cannot be is refused at its field, and the next good one heals it.
  await page.getByTestId("filter-client").fill("nobody");
  await page.getByTestId("filter-client").press("Enter");
  await page.getByTestId("filter-wrong").getByText("neither an address nor a network").waitFor();
  await shot(page, "refused");
  await accessible(page, "a refused filter");
  await page.getByTestId("filter-none").click();
  await page.getByTestId("filter-wrong").waitFor({ state: "hidden" });
  await isWatching();

  // What was too much is told of.
  for (let i = 0; i < 4; i += 1) await Promise.all(Array.from({ length: 50 }, () => send(`${prefix}/many`)));
  await page.getByTestId("left-out").waitFor();
  await page.getByTestId("clear").click();
  await page.getByTestId("requests").waitFor({ state: "hidden" });

  await page.emulateMedia({ colorScheme: "dark" });
  await page.locator("html.dark").waitFor();
  // The first may still be one too many of this second.
  await until("one comes", async () => {
    await send(`${prefix}/late`);
    return (await request(`${prefix}/late`).count()) > 0;
  });
  await shot(page, "dark");
  await accessible(page, "watched requests, dark");
  await call("DELETE", `/routes/${name}`);
});
