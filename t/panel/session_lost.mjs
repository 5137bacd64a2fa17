// What is typed outlives a session that ends and a connection that is lost; both are told of, and heal.
import { accessible, call, logIn, makeUser, scenario, USER_NAME } from "./support.mjs";
import { visit } from "./places.mjs";

const user = `lost-${process.pid}`;

await scenario("session_lost", async ({ visitor, shot, forgive }) => {
  const password = await makeUser(user, "admin");
  const page = await visitor();
  await logIn(page, user, password);
  await visit(page, "/users");
  await page.getByTestId("user-new").click();
  await page.getByTestId("user-name").fill(`${user}-new`);
  await page.getByTestId("user-display-name").fill("typed before it ended");

  // Someone ends the session; the next call finds out, such as one the frame makes by itself.
  await call("DELETE", `/users/${user}/sessions`);
  const again = page.getByRole("dialog").filter({ has: page.getByTestId("login-password") });
  await again.waitFor();
  await accessible(page, "logging in again");
  await shot(page, "ended");
  if ((await again.getByTestId("login-user").inputValue()) !== user) throw new Error("the name must be typed again");
  await again.getByTestId("login-password").fill("not this one");
  await again.getByTestId("login-submit").click();
  await again.getByTestId("login-problem").waitFor();
  await again.getByTestId("login-password").fill(password);
  await again.getByTestId("login-submit").click();
  await again.waitFor({ state: "hidden" });
  const kept = await page.getByTestId("user-display-name").inputValue();
  if (kept !== "typed before it ended") throw new Error(`what was typed is now ${JSON.stringify(kept)}`);

  // The same form, and now the gateway is away.
  await page.context().setOffline(true);
  await page.getByTestId("user-save").click();
  await page.getByTestId("lost").waitFor({ state: "attached" });
  await page.getByTestId("user-problem").waitFor();
  await shot(page, "lost");
  await page.context().setOffline(false);
  await page.getByTestId("lost").waitFor({ state: "detached" });
  await page.getByTestId("user-save").click();
  await page.getByTestId("secret").waitFor();
  await page.getByTestId("secret-close").click();
  await page.getByTestId(`user-edit-${user}-new`).waitFor();

  // What could not be read while it was away is read once it is back.
  const cut = (route) => route.abort();
  await page.route("**/admin/v2/**", cut);
  await visit(page, "/tokens");
  await page.getByTestId("lost").waitFor();
  await page.locator("main [role=alert]").first().waitFor();
  await shot(page, "away");
  await page.unroute("**/admin/v2/**", cut);
  await page.getByTestId("lost").waitFor({ state: "detached" });
  await page.locator("main .card").first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll("main [role=alert]").length === 0);
  forgive(/ERR_INTERNET_DISCONNECTED|ERR_FAILED|net::/);
  for (const one of [user, `${user}-new`]) await call("DELETE", `/users/${one}`);
  if (USER_NAME === user) throw new Error("own user");
});
