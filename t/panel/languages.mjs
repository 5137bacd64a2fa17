// Every place of the navigation speaks both languages, with no text missing; the language and the
// colours a person chose are kept.
import { logIn, open, scenario } from "./support.mjs";

/** A key of the texts, shown where its text is missing: the areas are the files of src/i18n/en. */
const KEY = /(?<![\w./@:-])(about|account|audit|changes|common|events|explain|fields|groups|hints|history|kinds|live|login|menu|objects|overview|tokens|topology|transfer|users)\.[a-z][A-Za-z0-9_-]*(?![\w./:(-])/;

async function choose(page, menu, text) {
  await page.getByTestId(menu).click();
  await page.getByRole("menuitem", { name: text, exact: true }).click();
}

/** All places that the navigation leads to, each drawn. */
async function walk(page, language, missing) {
  const links = page.locator("nav .entry[href^='#']");
  const places = await links.evaluateAll((all) => all.map((link) => link.getAttribute("href").slice(1)));
  if (places.length < 10) throw new Error(`the navigation has only ${places.length} places`);
  for (const place of places) {
    await open(page, place);
    await page.locator("main h1").first().waitFor();
    await page.locator("main [aria-busy=true]").first().waitFor({ state: "hidden" });
    const text = await page.locator("body").innerText();
    const found = KEY.exec(text);
    if (found) missing.push(`${language} ${place}: ${found[0]}`);
    const heading = await page.locator("main h1").first().innerText();
    if (language === "zh" && !/\p{Script=Han}/u.test(heading)) missing.push(`${language} ${place}: the heading is "${heading}"`);
  }
}

await scenario("languages", async ({ visitor, shot }) => {
  const page = await visitor();
  const missing = [];
  const spoken = (lang) => page.locator(`html[lang="${lang}"]`).waitFor();
  await logIn(page);
  await spoken("en");
  await walk(page, "en", missing);
  await open(page, "/");

  await choose(page, "language-menu", "中文");
  await spoken("zh-CN");
  await choose(page, "theme-menu", "深色");
  await page.locator("html.dark").waitFor();
  await shot(page, "chinese-dark");
  await page.reload();
  await page.getByTestId("user-menu").waitFor();
  await spoken("zh-CN");
  await page.locator("html.dark").waitFor();
  await walk(page, "zh", missing);
  await shot(page, "the-last");

  // A visitor whose browser speaks Chinese is spoken to so from the first.
  const chinese = await visitor({ locale: "zh-CN", colorScheme: "dark" });
  await open(chinese, "/login");
  await chinese.getByTestId("login-user").waitFor();
  await chinese.locator('html[lang="zh-CN"].dark').waitFor();
  await shot(chinese, "login");
  if (missing.length > 0) throw new Error(`texts are missing:\n${missing.join("\n")}`);
});
