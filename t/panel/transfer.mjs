// What is exported and imported again changes nothing; a wrong document is refused at its field; a right one is applied.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { accessible, call, logIn, makeUser, open, scenario, until } from "./support.mjs";

await scenario("transfer", async ({ visitor, shot }) => {
  const name = `transfer-${process.pid}`;
  const labels = { team: name };
  await call("POST", "/apply", {
    services: { [name]: { labels } },
    routes: { [name]: { prefix: `/${name}/*`, service_name: name, status: 1, labels }, [`${name}-old`]: { prefix: `/${name}-old`, service_name: name, status: 1, labels } },
  });
  const page = await visitor();
  await logIn(page);
  await open(page, "/transfer");

  // Out: some kinds, by label, as a file.
  await page.getByTestId("export-labels").fill(`team=${name}`);
  await page.getByTestId("export-labels").blur();
  const document = page.getByTestId("export-document");
  await document.getByText(`${name}-old`).first().waitFor();
  await until("nothing else is in it", async () => !(await document.innerText()).includes("nodes"));
  await accessible(page, "the export");
  await shot(page, "export");
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByTestId("export-download").click()]);
  assert.match(file.suggestedFilename(), /^gateway-.*\.yaml$/);
  const yaml = await readFile(await file.path(), "utf8");
  assert.match(yaml, new RegExp(`${name}-old:`));

  // In again: nothing changes.
  await page.getByRole("tab").nth(1).click();
  const bring = (text, called = "shop.yaml") =>
    page.getByTestId("import-file").setInputFiles({ name: called, mimeType: "application/yaml", buffer: Buffer.from(text) });
  await bring(yaml);
  await page.getByTestId("import-checked").getByRole("heading").waitFor();
  assert.equal(await page.getByTestId("import-apply").count(), 0, "there is nothing to apply");
  await shot(page, "nothing-changes");

  // What is wrong is told at its place, all of it at once.
  await bring(`# shops\nroutes:\n  ${name}:\n    prefix: no-slash\n    service_name: ${name}\n  other: {prefix: y}\n`);
  const wrong = page.getByTestId("import-wrong");
  await wrong.getByText(`routes.${name}.prefix`).waitFor();
  await wrong.getByText("routes.other").waitFor();
  assert.match(await wrong.getByRole("button").first().innerText(), /4/);
  await wrong.getByRole("button").first().click();
  await page.getByTestId("import-document").locator(".cm-lintRange-error").first().waitFor();
  await accessible(page, "a refused document");
  await shot(page, "wrong");
  await bring("routes:\n  a: [\n");
  await wrong.getByText("valid YAML").waitFor();
  await bring(`{"rotes": {}}`, "typo.json");
  await wrong.getByText("rotes").waitFor();

  // Applied, with what is left out deleted.
  await page.getByTestId("import-document").locator(".cm-content").fill(
    JSON.stringify({ services: { [name]: { labels } }, routes: { [name]: { prefix: `/${name}/new/*`, service_name: name, status: 1, labels } } }),
  );
  await page.getByTestId("import-prune-open").click();
  await page.getByTestId("import-prune").fill(`team=${name}`);
  await page.getByTestId("import-check").click();
  const checked = page.getByTestId("import-checked");
  await checked.getByText(`/${name}/new/*`).waitFor();
  await checked.getByText(`${name}-old`, { exact: true }).waitFor();
  await page.getByTestId("import-warnings").getByText("no nodes").first().waitFor();
  await accessible(page, "what a document changes");
  await shot(page, "would-change");
  assert.equal((await call("GET", `/routes/${name}`)).prefix, `/${name}/*`, "nothing is written yet");
  await page.getByTestId("reason").fill("moved");
  await page.getByTestId("import-apply").click();
  await page.getByTestId("import-applied").waitFor();
  assert.equal((await call("GET", `/routes/${name}`)).prefix, `/${name}/new/*`);
  await assert.rejects(call("GET", `/routes/${name}-old`), /404/);
  await shot(page, "applied");

  // A large one is not put into the editor at once, and is checked all the same.
  const many = Object.fromEntries(Array.from({ length: 6000 }, (_, i) => [`${name}-${i}`, { prefix: `/${name}/${i}/*`, service_name: name, status: 1, remark: "x".repeat(60) }]));
  await bring(JSON.stringify({ routes: many }), "large.json");
  await page.getByTestId("import-large").waitFor();
  await checked.getByText(/6,000/).waitFor();
  await shot(page, "large");

  // A viewer exports, and is offered no import.
  const viewer = `${name}-viewer`;
  const password = await makeUser(viewer, "viewer");
  const other = await visitor({ locale: "zh-CN", colorScheme: "dark" });
  await logIn(other, viewer, password);
  await open(other, "/transfer");
  await other.getByTestId("export-labels").fill(`team=${name}`);
  await other.getByTestId("export-labels").blur();
  await other.getByTestId("export-document").getByText(`/${name}/new/*`).waitFor();
  assert.equal(await other.getByRole("tab").count(), 0);
  await accessible(other, "the export in the dark");
  await shot(other, "viewer-dark-zh");
});
