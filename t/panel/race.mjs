// Two people edit one route: the slower one is told what the other did, and chooses.
import { accessible, call, logIn, makeRoute, makeUser, open, scenario, until } from "./support.mjs";

const name = `race-${process.pid}`;

await scenario("race", async ({ visitor, shot }) => {
  await makeRoute(name, `/${name}/*`);
  const password = await makeUser(`${name}-bob`, "editor");
  const [ann, bob] = [await visitor(), await visitor()];
  await logIn(ann);
  await logIn(bob, `${name}-bob`, password);
  const remark = async () => (await call("GET", `/routes/${name}`)).priority;

  async function edit(page, priority) {
    const field = page.getByTestId("field-priority").locator("input");
    await field.fill(String(priority));
    await field.press("Tab");
    await page.getByTestId("review-save").click();
  }
  for (const page of [ann, bob]) {
    await open(page, `/objects/routes/at/${name}`);
    await page.getByTestId("field-priority").waitFor();
  }
  await edit(ann, 5);
  await ann.getByTestId("save").click();
  await until("the first is stored", async () => (await remark()) === 5);

  // Mine is dropped.
  await edit(bob, 7);
  await bob.getByTestId("race").getByText("priority").first().waitFor();
  await bob.getByTestId("race-who").waitFor();
  await bob.getByTestId("race-mine").getByText("7", { exact: true }).waitFor();
  await accessible(bob, "a lost race");
  await shot(bob, "lost");
  await bob.getByTestId("take-theirs").click();
  await until("theirs is shown", async () => (await bob.getByTestId("field-priority").locator("input").inputValue()) === "5");
  if ((await remark()) !== 5) throw new Error("something was written");

  // Mine is saved over it, once it was looked at.
  await call("PATCH", `/routes/${name}`, { priority: 6 });
  await edit(bob, 8);
  await bob.getByTestId("save-mine").click();
  await bob.getByTestId("save").click();
  await until("mine is stored", async () => (await remark()) === 8);

  // Between the review and the save, too.
  await edit(bob, 9);
  await bob.getByTestId("save").waitFor();
  await call("PATCH", `/routes/${name}`, { priority: 1 });
  await bob.getByTestId("save").click();
  await bob.getByTestId("take-theirs").click();
  await until("theirs is shown", async () => (await bob.getByTestId("field-priority").locator("input").inputValue()) === "1");

  // Closing the explanation decides nothing: the next save is told of it again.
  await call("PATCH", `/routes/${name}`, { priority: 2 });
  await edit(bob, 10);
  await bob.getByTestId("race").getByRole("button", { name: "Cancel" }).click();
  await bob.getByTestId("race").waitFor({ state: "hidden" });
  await bob.getByTestId("review-save").click();
  await bob.getByTestId("take-theirs").click();
  await until("theirs is shown", async () => (await bob.getByTestId("field-priority").locator("input").inputValue()) === "2");

  // What was deleted meanwhile can be made again.
  await call("DELETE", `/routes/${name}`);
  await edit(bob, 11);
  await bob.getByTestId("race").waitFor();
  await shot(bob, "gone");
  await bob.getByTestId("save-mine").click();
  await bob.getByTestId("save").click();
  await until("it is there again", async () => (await call("GET", `/routes?search=${name}`)).total === 1);
  if ((await remark()) !== 11) throw new Error("mine was not stored");

  // Nobody deletes what they have not seen.
  await bob.getByTestId("save").waitFor({ state: "hidden" });
  await call("PATCH", `/routes/${name}`, { priority: 3 });
  await bob.getByTestId("delete").click();
  await bob.getByTestId("delete-name").fill(await bob.getByRole("heading", { level: 1 }).innerText());
  await bob.getByTestId("delete-confirm").click();
  await bob.getByTestId("race").waitFor();
  if ((await remark()) !== 3) throw new Error("it was changed");
});
