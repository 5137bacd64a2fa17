// API tokens: shown once, good for what they are for, not after they are deleted.
import { accessible, ADMIN, call, choose, enter, logIn, scenario, until } from "./support.mjs";
import { visit } from "./places.mjs";

const name = `deploy-${process.pid}`;

const me = (token) => fetch(`${ADMIN}/admin/v2/me`, { headers: { "X-Api-Token": token } });

await scenario("tokens", async ({ visitor, shot }) => {
  const page = await visitor();
  await logIn(page);
  await visit(page, "/tokens");
  await accessible(page, "the tokens");

  // A name is needed, and is asked for at its field.
  await page.getByTestId("token-new").click();
  await page.getByTestId("token-save").click();
  await page.getByTestId("token-form").locator(".form-item-error").waitFor();
  await page.getByTestId("token-name").fill(name);
  await choose(page, "token-may", /^Editor/);
  await choose(page, "token-life", "In 30 days");
  await accessible(page, "a new token");
  await shot(page, "new");
  await page.getByTestId("token-save").click();
  const token = await page.getByTestId("secret").locator("visible=true").textContent();
  await shot(page, "token");
  await page.getByTestId("secret-close").click();
  await page.getByTestId("secret").waitFor({ state: "hidden" });
  if ((await page.content()).includes(token)) throw new Error("the token is still in the page");

  const who = await (await me(token)).json();
  if (who.role !== "editor") throw new Error(`it may otherwise: ${JSON.stringify(who)}`);
  const { items } = await call("GET", "/tokens");
  const stored = Object.values(items).find((one) => one.name === name);
  const days = (new Date(stored.expires) - Date.now()) / 86_400_000;
  if (Math.abs(days - 30) > 0.1) throw new Error(`it ends in ${days} days`);

  // One for registrations must say of which services.
  await page.getByTestId("token-new").click();
  await page.getByTestId("token-name").fill(`${name}-register`);
  await choose(page, "token-may", /^Registers/);
  await page.getByTestId("token-save").click();
  await page.getByTestId("token-form").locator(".form-item-error").waitFor();
  await enter(page, "services", "team-*");
  await choose(page, "token-life", "Never");
  await page.getByTestId("token-save").click();
  await page.getByTestId("secret-close").click();
  const registrar = await until("the other is there", async () =>
    Object.values((await call("GET", "/tokens")).items).find((one) => one.name === `${name}-register`),
  );
  if (registrar.scope !== "register" || registrar.services.join() !== "team-*" || registrar.expires !== null) {
    throw new Error(JSON.stringify(registrar));
  }

  // One that has ended says so.
  const short = await call("POST", "/tokens", { name: `${name}-short`, role: "viewer", expires_in: "1s" });
  await until("it has ended", async () => (await call("GET", `/tokens/${short.id}`)).has_expired);
  await page.reload();
  const row = page.getByTestId("tokens").getByRole("row").filter({ hasText: `${name}-short` });
  await row.getByText("Ended").waitFor();
  await shot(page, "list");

  await page.getByTestId(`token-delete-${stored.id}`).click();
  await page.getByTestId("delete-name").fill(name);
  await page.getByTestId("delete-confirm").click();
  await page.getByTestId(`token-delete-${stored.id}`).waitFor({ state: "detached" });
  await until("it is good no longer", async () => (await me(token)).status === 401);
  for (const { id } of [registrar, short]) await call("DELETE", `/tokens/${id}`);
});
