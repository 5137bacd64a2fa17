// Both languages on every screen, with no text forgotten; language and colours are kept, on a narrow screen too.
import { accessible, logIn, makeRoute, open, scenario } from "./support.mjs";
import { navigation, places, visit } from "./places.mjs";

/** Texts that are a key of the panel's texts, such as `menu.users`, and therefore were not found. */
async function forgotten(page) {
  const areas = (await import("node:fs")).readdirSync(new URL("../../gateway/dashboard/src/i18n/en/", import.meta.url));
  const names = areas.map((file) => file.replace(".ts", "")).filter((name) => name !== "index");
  return page.evaluate((names) => {
    const key = new RegExp(`^(${names.join("|")})\\.[a-zA-Z][\\w-]*(\\.[\\w-]+)*$`);
    const texts = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) if (!walker.currentNode.parentElement.closest("code, pre, .mono")) texts.push(walker.currentNode.data);
    for (const name of ["aria-label", "title", "placeholder", "alt"]) {
      for (const element of document.querySelectorAll(`[${name}]`)) texts.push(element.getAttribute(name));
    }
    return texts.map((text) => text.trim()).filter((text) => key.test(text));
  }, names);
}

await scenario("languages", async ({ visitor, shot }) => {
  await makeRoute(`lang-${process.pid}`, `/lang-${process.pid}/*`);
  const titles = {};
  for (const [locale, lang] of [
    ["en-US", "en"],
    ["zh-CN", "zh-CN"],
  ]) {
    const page = await visitor({ locale });
    await open(page, "/login");
    await page.getByTestId("login-user").waitFor();
    if ((await page.evaluate(() => document.documentElement.lang)) !== lang) throw new Error(`the login is not in ${lang}`);
    await logIn(page);
    for (const place of new Set([...(await navigation(page)), ...(await places())])) {
      await visit(page, place);
      const missing = await forgotten(page);
      if (missing.length > 0) throw new Error(`${place} in ${lang} shows ${missing.join(", ")}`);
      const title = await page.locator("main h1").first().innerText();
      (titles[place] ??= []).push(title);
      await shot(page, `${lang}-${place.replaceAll(/\W+/g, "-")}`);
    }
  }
  const same = Object.entries(titles).filter(([place, [en, zh]]) => en === zh && !/\/at\/|\/history\/\d/.test(place));
  if (same.length > 0) throw new Error(`not translated: ${JSON.stringify(same)}`);

  // Chosen here, kept here.
  const page = await visitor({ colorScheme: "dark" });
  const isDark = () => page.evaluate(() => document.documentElement.classList.contains("dark"));
  await logIn(page);
  if (!(await isDark())) throw new Error("the system's dark is not followed");
  await page.getByTestId("language-menu").click();
  await page.getByRole("menuitem", { name: "中文" }).click();
  await page.locator("html[lang=zh-CN]").waitFor({ state: "attached" });
  await visit(page, "/account");
  await page.getByTestId("theme-light").click();
  await page.locator("html:not(.dark)").waitFor({ state: "attached" });
  await page.reload();
  await page.getByTestId("theme-light").waitFor();
  if (await isDark()) throw new Error("the colours are not kept");
  if ((await page.evaluate(() => document.documentElement.lang)) !== "zh-CN") throw new Error("the language is not kept");
  await page.getByTestId("theme-system").click();
  await page.locator("html.dark").waitFor({ state: "attached" });
  await page.emulateMedia({ colorScheme: "light" });
  await page.locator("html:not(.dark)").waitFor({ state: "attached" });

  // A telephone.
  const phone = await visitor({ viewport: { width: 390, height: 800 } });
  await logIn(phone);
  for (const place of ["/", "/users", "/account", "/no/such/place"]) {
    await visit(phone, place);
    const width = await phone.evaluate(() => document.documentElement.scrollWidth);
    if (width > 390) throw new Error(`${place} is ${width} wide on a telephone`);
    await accessible(phone, `${place} on a telephone`);
    await shot(phone, `phone-${place.replaceAll(/\W+/g, "-")}`);
  }
  await phone.locator("header button").first().click();
  await phone.locator("nav a[href='#/history']").click();
  await phone.locator("nav").first().waitFor({ state: "hidden" });
});
