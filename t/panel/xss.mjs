// Whatever is stored is shown as text: no markup of it runs, on no screen, in no list, form, history or picture.
import { call, logIn, makeUser, NODES, open, scenario, send } from "./support.mjs";
import { navigation, places, visit } from "./places.mjs";

const id = `xss-${process.pid}`;
const hit = "window.__hit=1";
const PAYLOADS = [
  `<img src=x onerror="${hit}">`,
  `<script>${hit}</script>`,
  `"><svg onload="${hit}">`,
  `' onmouseover='${hit}' x='`,
  `" autofocus onfocus="${hit}" x="`,
  `javascript:${hit}`,
  `{{constructor.constructor("${hit}")()}}`,
  `\${${hit}}`,
  `<iframe srcdoc="<script>parent.__hit=1</script>"></iframe>`,
  `<a href="javascript:${hit}">click</a>`,
  `</textarea></title></style><body onload="${hit}">`,
  `<math><mtext></mtext><style><img src=x onerror="${hit}"></style></math>`,
  `<details open ontoggle="${hit}">`,
  `@:common.name {name} | %s`,
  `\u202Egnp.exe\u202C <b>bold</b> &lt;i&gt; &amp;`,
  `\u200B\u2028\u00AD']];${hit}//`,
];

/** What the API does not take in one field it may take in another: what is refused is left out, and counted. */
async function put(counts, where, method, path, body, headers) {
  try {
    const answer = await call(method, path, body, headers);
    counts[where] = (counts[where] ?? 0) + 1;
    return answer;
  } catch (error) {
    if (!/: (400|409|422) /.test(error.message)) throw error;
    return undefined;
  }
}

/** Stores each payload wherever a text is taken. Returns how many places took one, and the tokens to delete. */
async function plant() {
  const counts = {};
  const tokens = [];
  for (const [index, payload] of PAYLOADS.entries()) {
    const name = `${id}-${index}`;
    const why = `reason=${encodeURIComponent(payload)}`;
    const service = { labels: { note: payload, [payload]: "x" } };
    (await put(counts, "service", "PUT", `/services/${name}?${why}`, service)) ??
      (await put(counts, "service", "PUT", `/services/${name}?${why}`, { labels: { note: payload } })) ??
      (await put(counts, "plain service", "PUT", `/services/${name}`, {}));
    const route = { prefix: `/${name}/*`, service_name: name, status: 1, protocol: "http" };
    const fields = [
      ["prefix", { prefix: `/${name}/${payload}/*` }],
      ["remark", { remark: payload }],
      ["hosts", { hosts: [payload] }],
      ["labels", { labels: { note: payload } }],
      ["label names", { labels: { [payload]: "x" } }],
      ["props", { props: { note: payload, [payload]: payload } }],
      ["query", { match: { query: { [payload]: payload } } }],
      ["plugins", { plugins: ["rewrite"], props: { rewrite: { regex: "^/never/", replace: `/${payload}` } } }],
    ];
    for (const [field, more] of fields) {
      await put(counts, `route ${field}`, "PUT", `/routes/${name}-${field.replace(" ", "-")}`, { ...route, ...more }, { "If-None-Match": "*" });
    }
    const node = { service_name: name, upstream: NODES[0], weight: 1, status: 1 };
    (await put(counts, "node", "POST", "/nodes", { ...node, labels: { zone: payload }, props: { note: payload } })) ??
      (await put(counts, "node", "POST", "/nodes", { ...node, labels: { zone: payload } })) ??
      (await put(counts, "plain node", "POST", "/nodes", node));
    await put(counts, "user", "PUT", `/users/${name}`, { role: "viewer", display_name: payload });
    await put(counts, "user's services", "PUT", `/users/${name}s`, { role: "editor", services: [payload] });
    const token = await put(counts, "token", "POST", "/tokens", { name: payload, role: "viewer" });
    if (token) tokens.push(token.id);
    await send(`/${name}/${encodeURIComponent(payload)}?q=${encodeURIComponent(payload)}`, { headers: { "User-Agent": "<b>x</b>" } });
  }
  return { counts, tokens };
}

/** Fails when something has run. */
async function unharmed(page, place) {
  const state = await page.evaluate(() => ({
    hit: globalThis.__hit,
    forbidden: globalThis.__forbidden,
    // Markup that the panel never makes.
    odd: [...document.querySelectorAll("iframe, script:not([src]), [onerror], [onload], [onfocus], [ontoggle], [onmouseover], a[href^='javascript:' i], math, details[open][ontoggle]")].map((e) => e.outerHTML.slice(0, 200)),
  }));
  if (state.hit !== undefined) throw new Error(`${place}: a script of a payload ran`);
  if (state.forbidden.length > 0) throw new Error(`${place}: against the policy: ${state.forbidden.join(", ")}`);
  if (state.odd.length > 0) throw new Error(`${place}: markup of a payload: ${state.odd.join("\n")}`);
}

await scenario("xss", async ({ visitor, shot }) => {
  const { counts, tokens } = await plant();
  console.log(JSON.stringify(counts));
  for (const where of ["service", "node", "route remark", "route labels", "route plugins", "user", "token"]) {
    if ((counts[where] ?? 0) < 12) throw new Error(`only ${counts[where] ?? 0} payloads are in ${where}`);
  }
  const page = await visitor();
  await page.addInitScript(() => {
    globalThis.__forbidden = [];
    addEventListener("securitypolicyviolation", (e) => globalThis.__forbidden.push(`${e.violatedDirective} ${e.blockedURI} ${e.sample}`));
  });
  const admin = `${id}-admin`;
  await logIn(page, admin, await makeUser(admin, "admin"));
  const led = await navigation(page);
  const objects = ["remark", "hosts", "labels", "label-names", "props", "query", "plugins", "prefix"].map((f, i) => `/objects/routes/at/${id}-${i}-${f}`);
  const { items } = await call("GET", "/history?limit=20");
  const revisions = items.map(({ revision }) => `/history/${revision}`);
  const all = [...led, ...(await places()), ...objects, `/objects/services/at/${id}-0`, ...revisions.slice(0, 6)];
  for (const place of new Set(all)) {
    await visit(page, place);
    await unharmed(page, place);
    // What opens when it is touched.
    for (const tab of await page.locator("main [role=tab]:visible").all()) await tab.click();
    for (const more of await page.locator("main .el-table__expand-icon:visible").all().then((found) => found.slice(0, 3))) await more.click();
    for (const picked of await page.locator("main svg [tabindex], main [role=treeitem]").all().then((found) => found.slice(0, 3))) {
      await picked.focus();
    }
    await unharmed(page, `${place}, touched`);
  }

  // They are there to read, as they were written.
  await visit(page, "/users");
  for (const payload of PAYLOADS.slice(0, 5)) await page.getByText(payload, { exact: true }).first().waitFor();
  await shot(page, "users");
  await page.getByTestId(`user-edit-${id}-0`).click();
  await page.getByTestId("user-display-name").waitFor();
  await unharmed(page, "changing a user");
  await page.keyboard.press("Escape");
  await visit(page, "/tokens");
  await page.getByText(PAYLOADS[0], { exact: true }).first().waitFor();
  await page.getByTestId(`token-delete-${tokens[0]}`).click();
  await page.getByTestId("delete-name").waitFor();
  await shot(page, "delete");
  await unharmed(page, "deleting a token");
  await page.keyboard.press("Escape");
  await visit(page, "/audit");
  await unharmed(page, "the record");

  // Nor does an address of the panel run anything, or lead away from it.
  for (const place of [`/${encodeURIComponent(PAYLOADS[0])}`, `/objects/${encodeURIComponent(PAYLOADS[2])}`, `/history/${encodeURIComponent(PAYLOADS[1])}`]) {
    await open(page, place);
    await page.locator("main").waitFor();
    await unharmed(page, place);
  }
  const stranger = await visitor();
  await open(stranger, `/login?to=${encodeURIComponent("//example.com/")}`);
  await stranger.getByTestId("login-user").fill(admin);
  await stranger.getByTestId("login-password").fill((await call("PATCH", `/users/${admin}`, { password: `${id}-password` }), `${id}-password`));
  await stranger.getByTestId("login-submit").click();
  await stranger.getByTestId("user-menu").waitFor();
  if (!stranger.url().includes("#/")) throw new Error(`led to ${stranger.url()}`);

  for (const token of tokens) await call("DELETE", `/tokens/${token}`);
  for (const user of Object.keys((await call("GET", "/users")).items).filter((name) => name.startsWith(id))) await call("DELETE", `/users/${user}`);
  for (const kind of ["routes", "nodes", "services"]) {
    const { items: stored } = await call("GET", `/${kind}?limit=1000`);
    for (const { name, value } of stored) {
      if (name.startsWith(`${id}-`) || value.service_name?.startsWith(`${id}-`)) await call("DELETE", `/${kind}/${encodeURIComponent(name)}`);
    }
  }
});
