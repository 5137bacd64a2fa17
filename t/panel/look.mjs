// Not a test: logs in and takes pictures of places, to look at: node t/panel/look.mjs / /topology …
// LANGUAGE=zh-CN and SCHEME=dark say how.
import { logIn, open, scenario } from "./support.mjs";

await scenario("look", async ({ visitor, shot }) => {
  const page = await visitor({ locale: process.env.LANGUAGE ?? "en-US", colorScheme: process.env.SCHEME ?? "light" });
  await open(page, "/login");
  await page.getByTestId("login-user").waitFor();
  await shot(page, "login");
  await logIn(page);
  for (const place of process.argv.slice(2)) {
    await open(page, place);
    await page.waitForTimeout(1500);
    await shot(page, place.replaceAll(/\W+/g, "-") || "root");
  }
});
