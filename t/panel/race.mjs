// Two people edit one route: the second is told what the first changed, and can take it or save over it.
import { accessible, call, logIn, makeRoute, open, scenario, until } from "./support.mjs";

const id = `race${process.pid}`;

async function begin(page) {
  await open(page, "/objects/routes");
  await page.getByTestId("objects").waitFor();
  await open(page, `/objects/routes/at/${id}`);
  await page.getByTestId("field-prefix").waitFor();
}
async function review(page) {
  await page.getByTestId("save").click();
  await page.getByTestId("review").waitFor();
}
async function save(page) {
  await review(page);
  await page.getByTestId("save-confirm").click();
  await page.getByTestId("review").waitFor({ state: "hidden" });
}
const prefix = async () => (await call("GET", `/routes/${id}`)).prefix;

await scenario("race", async ({ visitor, shot }) => {
  await makeRoute(id, `/${id}/*`);
  const [one, two] = [await visitor(), await visitor({ colorScheme: "dark" })];
  await logIn(one);
  await logIn(two);

  await begin(one);
  await begin(two);
  await one.getByTestId("field-prefix").fill(`/${id}-one/*`);
  await two.getByTestId("field-prefix").fill(`/${id}-two/*`);
  await save(one);
  await two.getByTestId("save").click();
  await two.getByTestId("race").waitFor();
  const told = await two.getByTestId("race-theirs").innerText();
  if (!told.includes(`/${id}-one/*`)) throw new Error(`it does not say what they changed: ${told}`);
  await accessible(two, "a lost race");
  await shot(two, "told");
  await two.getByTestId("take-theirs").click();
  await two.getByTestId("race").waitFor({ state: "hidden" });
  await until("theirs is in the form", async () => (await two.getByTestId("field-prefix").inputValue()) === `/${id}-one/*`);

  // The other way out; this time the first one is quicker between the review and the saving.
  await two.getByTestId("field-prefix").fill(`/${id}-mine/*`);
  await review(two);
  await begin(one);
  await one.getByTestId("field-prefix").fill(`/${id}-three/*`);
  await save(one);
  await two.getByTestId("save-confirm").click();
  await two.getByTestId("race").waitFor();
  await two.getByTestId("save-mine").click();
  await two.getByTestId("review").waitFor();
  await shot(two, "over-it");
  await two.getByTestId("save-confirm").click();
  await until("mine is stored", async () => (await prefix()) === `/${id}-mine/*`);
});
