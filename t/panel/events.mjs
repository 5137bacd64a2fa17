// A change by the API appears as an event, with a link to the object; types are filtered, and what comes while paused is held.
import { accessible, call, logIn, open, scenario } from "./support.mjs";

const name = `events${process.pid}`;

await scenario("events", async ({ visitor, shot }) => {
  await call("PUT", `/services/${name}-before`, {});
  const page = await visitor();
  await logIn(page);
  await open(page, "/events");
  await page.locator('[data-testid="stream-state"][data-state="open"]').waitFor();
  const event = (text) => page.getByTestId("event").filter({ has: page.getByText(text, { exact: true }) });

  // What happened before is there, what happens comes.
  await event(`${name}-before`).waitFor();
  await call("PUT", `/services/${name}`, {});
  await event(name).waitFor();
  await event(name).getByText("is live.").waitFor();
  await shot(page, "live");
  await accessible(page, "events");

  // By type.
  await page.getByTestId("type-config").click();
  await event(name).waitFor({ state: "hidden" });
  await page.getByTestId("type-config").click();
  await event(name).waitFor();

  // By text.
  await page.getByTestId("events-search").fill(`${name}-before`);
  await event(name).waitFor({ state: "hidden" });
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Delete");
  await event(name).waitFor();

  // Held while paused.
  await page.getByTestId("pause").click();
  await call("DELETE", `/services/${name}-before`);
  await page.getByTestId("resume").getByText(/\(\d+ new\)/).waitFor();
  await page.getByTestId("resume").click();
  await event(`${name}-before`).getByText("was deleted.").waitFor();

  await page.emulateMedia({ colorScheme: "dark" });
  await page.locator("html.dark").waitFor();
  await shot(page, "dark");
  await accessible(page, "events, dark");

  // To the object.
  await event(name).getByRole("link").first().click();
  await page.waitForURL(new RegExp(`#/objects/services/at/${name}$`));
  await call("DELETE", `/services/${name}`);
});
