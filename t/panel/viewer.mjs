// A viewer sees every screen, nothing on it is refused, and no button would be; in both languages and both colours.
import { accessible, call, logIn, makeRoute, makeUser, scenario } from "./support.mjs";
import { navigation, places, visit } from "./places.mjs";

const user = `viewer-${process.pid}`;

// What changes something, in the words of either language.
const CHANGES =
  /^\s*(save|create|delete|edit|new\b.*|new token|new user|import|apply|roll back.*|undo|confirm|disable|enable|drain|保存|新建.*|删除|编辑|导入|应用|回滚.*|撤回|确认|停用|启用)\s*$/i;

await scenario("viewer", async ({ visitor, shot }) => {
  const route = `viewer-${process.pid}`;
  await makeRoute(route, `/${route}/*`);
  const password = await makeUser(user, "viewer");
  const all = await places();

  for (const { locale, colorScheme } of [
    { locale: "en-US", colorScheme: "light" },
    { locale: "zh-CN", colorScheme: "dark" },
  ]) {
    const page = await visitor({ locale, colorScheme });
    const refused = [];
    page.on("response", (answer) => {
      if (answer.status() === 403) refused.push(`${answer.request().method()} ${answer.url()}`);
    });
    await logIn(page, user, password);
    const led = await navigation(page);
    for (const one of ["/users", "/tokens", "/audit"]) {
      if (led.includes(one)) throw new Error(`the navigation leads a viewer to ${one}`);
    }
    for (const place of new Set([...led, ...all])) {
      await visit(page, place);
      await accessible(page, `${place} (${locale}, ${colorScheme})`);
      // One's own account is everyone's to change.
      if (place === "/account") continue;
      const buttons = await page.locator("main button:visible, main a.el-button:visible").evaluateAll((found) =>
        found.filter((button) => !button.disabled).map((button) => button.innerText || button.getAttribute("aria-label") || ""),
      );
      const wrong = buttons.filter((text) => CHANGES.test(text));
      if (wrong.length > 0) throw new Error(`${place} offers a viewer: ${wrong.join(", ")}`);
      if (refused.length > 0) throw new Error(`${place} asked for what a viewer may not: ${refused.join(", ")}`);
      await shot(page, `${locale}-${place.replaceAll(/\W+/g, "-")}`);
    }
    await visit(page, "/users");
    await page.getByTestId("not-for-you").waitFor();
  }
  await call("DELETE", `/users/${user}`);
});
