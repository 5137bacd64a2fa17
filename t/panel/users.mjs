// Users: made with a password that is shown once, changed, given a new password, sent away, deleted; and what is refused.
import { accessible, call, choose, enter, logIn, open, scenario, until, USER_NAME } from "./support.mjs";
import { visit } from "./places.mjs";

const name = `ann-${process.pid}`;

async function more(page, user, what) {
  await page.locator(".el-dropdown-menu").locator("visible=true").first().waitFor({ state: "hidden" });
  await page.getByTestId(`user-more-${user}`).click();
  await page.getByTestId(what).locator("visible=true").click();
}

await scenario("users", async ({ visitor, shot }) => {
  const service = `users-${process.pid}`;
  await call("PUT", `/services/${service}`, {});
  const page = await visitor();
  await logIn(page);
  await visit(page, "/users");
  await accessible(page, "the users");

  // A name that cannot be is refused at its field.
  await page.getByTestId("user-new").click();
  await page.getByTestId("user-name").fill("not a name!");
  await page.getByTestId("user-save").click();
  await page.getByTestId("user-form").locator(".form-item-error").waitFor();
  await shot(page, "refused");

  await page.getByTestId("user-name").fill(name);
  await page.getByTestId("user-display-name").fill("Ann of Users");
  await choose(page, "user-role", /^Editor/);
  await page.getByTestId("services-some").click();
  await enter(page, "services", service);
  await accessible(page, "a new user");
  await shot(page, "new");
  await page.getByTestId("user-save").click();
  const password = await page.getByTestId("secret").locator("visible=true").textContent();
  await shot(page, "password");
  await page.getByTestId("secret-close").click();
  await page.getByTestId("secret").waitFor({ state: "hidden" });
  const made = await call("GET", `/users/${name}`);
  if (made.role !== "editor" || made.services?.join() !== service || made.display_name !== "Ann of Users") {
    throw new Error(`made otherwise: ${JSON.stringify(made)}`);
  }
  const ann = await visitor();
  await logIn(ann, name, password);

  // The same name once more.
  await page.getByTestId("user-new").click();
  await page.getByTestId("user-name").fill(name);
  await page.getByTestId("user-save").click();
  await page.getByTestId("user-form").locator(".form-item-error").waitFor();
  await page.keyboard.press("Escape");
  await page.getByTestId("user-form").waitFor({ state: "hidden" });

  await page.getByTestId(`user-edit-${name}`).click();
  await page.getByTestId("user-display-name").fill("Ann");
  await choose(page, "user-role", /^Viewer/);
  await page.getByTestId("services-all").click();
  await page.getByTestId("user-save").click();
  await page.getByTestId("user-form").waitFor({ state: "hidden" });
  const changed = await until("she is a viewer", async () => {
    const user = await call("GET", `/users/${name}`);
    return user.role === "viewer" && user;
  });
  if (changed.services !== null || changed.display_name !== "Ann") throw new Error(JSON.stringify(changed));

  // Sent away.
  const ended = (visitor) => visitor.evaluate(() => fetch("/admin/v2/me").then(({ status }) => status === 401));
  await more(page, name, "user-sessions");
  await page.locator(".el-message-box__btns .el-button--primary").click();
  await until("her session has ended", () => ended(ann));

  // A new password, shown once; the one so far is good no longer.
  await more(page, name, "user-password");
  await page.locator(".el-message-box__btns .el-button--primary").locator("visible=true").click();
  const second = await page.getByTestId("secret").locator("visible=true").textContent();
  await page.getByTestId("secret-close").click();
  const again = await visitor();
  await open(again, "/login");
  await again.getByTestId("login-user").fill(name);
  await again.getByTestId("login-password").fill(password);
  await again.getByTestId("login-submit").click();
  await again.getByTestId("login-problem").waitFor();
  await logIn(again, name, second);

  // Nobody deletes the own account here.
  await page.getByTestId(`user-more-${USER_NAME}`).click();
  await page.getByTestId("user-sessions").locator("visible=true").waitFor();
  if (await page.getByTestId("user-delete").locator("visible=true").count()) throw new Error("the own account could be deleted");
  await page.locator("main h1").click();

  // Deleted, once the name is typed.
  await more(page, name, "user-delete");
  if (!(await page.getByTestId("delete-confirm").isDisabled())) throw new Error("deleted without the name");
  await page.getByTestId("delete-name").fill(name);
  await shot(page, "delete");
  await page.getByTestId("delete-confirm").click();
  await page.getByTestId(`user-edit-${name}`).waitFor({ state: "detached" });
  await until("her session has ended", () => ended(again));

  // All that is in the record.
  await visit(page, "/audit");
  await page.getByTestId("audit-actor").fill(USER_NAME);
  await page.getByTestId("audit-actor").press("Enter");
  await page.waitForURL(/actor=/);
  await choose(page, "audit-action", "Deleted a user");
  await page.getByTestId("audit").getByText(name).first().waitFor();
  await accessible(page, "the record");
  await shot(page, "audit");
  await call("DELETE", `/services/${service}`);
});
