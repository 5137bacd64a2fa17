// Logging in: a wrong password, the right one, a logout that really ends it, and an authenticator app from end to end.
import { createHmac } from "node:crypto";
import { accessible, ADMIN, logIn, makeUser, open, scenario, until } from "./support.mjs";

const user = `login-${process.pid}`;

/** The code of an authenticator app (RFC 6238). */
function codeOf(secret, step) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...secret.replace(/=+$/, "")].map((letter) => alphabet.indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const digest = createHmac("sha1", key).update(counter).digest();
  const at = digest[19] & 15;
  return String((digest.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
const stepOfNow = () => Math.floor(Date.now() / 30_000);

await scenario("login", async ({ visitor, shot, browser }) => {
  const password = await makeUser(user, "editor");
  const page = await visitor();

  // A place that needs a login is come back to after it.
  await open(page, "/history");
  await page.getByTestId("login-user").fill(user);
  await accessible(page, "the login");
  await page.getByTestId("login-password").fill(`${password}x`);
  await page.getByTestId("login-submit").click();
  await page.getByTestId("login-problem").waitFor();
  await shot(page, "wrong");
  await page.getByTestId("login-password").fill(password);
  await page.getByTestId("login-password").press("Enter");
  await page.getByTestId("user-menu").waitFor();
  await page.waitForURL(/#\/history$/);

  // No script can read the session, and nothing is left in the browser that would be one.
  const kept = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
  if (/token|session|csrf/i.test(kept)) throw new Error(`the browser keeps a secret: ${kept}`);

  // The session is over for whoever still has its cookie.
  const cookies = await page.context().cookies(`${new URL(page.url()).origin}/admin/v2/me`);
  const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join("; ");
  const me = () => fetch(`${ADMIN}/admin/v2/me`, { headers: { cookie } }).then(({ status }) => status);
  if ((await me()) !== 200) throw new Error("the cookie is no session");
  await page.getByTestId("user-menu").click();
  await page.getByTestId("logout").click();
  await page.getByTestId("login-user").waitFor();
  if ((await me()) !== 401) throw new Error("the session goes on after the logout");
  await open(page, "/account");
  await page.getByTestId("login-user").waitFor();

  // An app is set up ...
  await logIn(page, user, password);
  await open(page, "/account");
  await page.getByTestId("totp-password").fill("not this one");
  await page.getByTestId("totp-begin").click();
  await page.getByTestId("authenticator").locator(".form-item-error").waitFor();
  await page.getByTestId("totp-password").fill(password);
  await page.getByTestId("totp-begin").click();
  const secret = await page.getByTestId("totp-secret").textContent();
  await page.getByTestId("authenticator").locator("svg[role=img]").waitFor();
  await accessible(page, "setting up an app");
  await shot(page, "app");
  await page.getByTestId("totp-code").fill("000000");
  await page.getByTestId("totp-confirm").click();
  await page.getByTestId("authenticator").locator(".form-item-error").waitFor();
  let step = stepOfNow();
  await page.getByTestId("totp-code").fill(codeOf(secret, step));
  await page.getByTestId("totp-confirm").click();
  await page.getByTestId("totp-remove").waitFor();

  // ... and asked for from then on.
  const other = await visitor();
  await open(other, "/");
  await other.getByTestId("login-user").fill(user);
  await other.getByTestId("login-password").fill(password);
  await other.getByTestId("login-submit").click();
  await other.getByTestId("login-code").waitFor();
  await shot(other, "code");
  await other.getByTestId("login-code").fill("000000");
  await other.getByTestId("login-submit").click();
  await other.getByTestId("login-problem").waitFor();
  // Each code is good once; the one of the next half minute is taken already.
  step = Math.max(step + 1, stepOfNow());
  await until("the code may be used", () => stepOfNow() >= step - 1);
  await other.getByTestId("login-code").fill(codeOf(secret, step));
  await other.getByTestId("login-submit").click();
  await other.getByTestId("user-menu").waitFor();

  await page.getByTestId("totp-password").fill(password);
  await page.getByTestId("totp-remove").click();
  await page.getByTestId("totp-begin").waitFor();

  // A new password ends the other logins, and this one goes on.
  const wanted = `${password}-new`;
  await page.getByTestId("password-old").fill(password);
  await page.getByTestId("password-new").fill(wanted);
  await page.getByTestId("password-again").fill(wanted);
  await page.getByTestId("password-save").click();
  await page.locator(".el-message--success").last().waitFor();
  await until("the other login has ended", async () => {
    const status = await other.evaluate(() => fetch("/admin/v2/me").then((answer) => answer.status));
    return status === 401;
  });
  await page.reload();
  await page.getByTestId("user-menu").waitFor();
  const third = await visitor();
  await logIn(third, user, wanted);
  if (browser.contexts().length !== 3) throw new Error("three visitors");
});
