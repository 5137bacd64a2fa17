// A gateway that was upgraded no longer has the parts of the panel it served before: the page gets those there are now.
import { logIn, scenario } from "./support.mjs";

await scenario("upgraded", async ({ visitor, forgive }) => {
  const page = await visitor();
  await logIn(page);
  let loads = 0;
  let isGone = true;
  page.on("load", () => {
    loads += 1;
    isGone = false;
  });
  await page.route("**/assets/Explain-*.js", (route) => (isGone ? route.fulfill({ status: 404, body: "" }) : route.continue()));
  await page.getByRole("link", { name: "Explain", exact: true }).click();
  await page.getByTestId("explain-url").waitFor();
  if (loads !== 1) throw new Error(`loaded ${loads} times`);

  // One that stays away is no reason to load again and again.
  await page.route("**/assets/Transfer-*.js", (route) => route.fulfill({ status: 404, body: "" }));
  const refused = page.waitForResponse(/assets\/Transfer-.*\.js/);
  await page.getByRole("link", { name: "Import and export", exact: true }).click();
  await refused;
  await page.getByRole("link", { name: "History", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: "History" }).waitFor();
  if (loads !== 1) throw new Error(`loaded ${loads} times`);
  forgive(/dynamically imported module/);
});
