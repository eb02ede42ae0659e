// Notebooks and Run on Gradient on invented data: what a person asks for reaches the API, and what the
// box tells is seen.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { picture, sees } from "./browser.mjs";
import { mock, page } from "./mock-tab.mjs";

afterEach(() => assert.deepEqual(page.complaints.splice(0), []));

const button = (name) => page.getByRole("button", { name, exact: true });
const chip = (word) => page.locator("main .job-title state-chip", { hasText: word });
const notebook = (id) => mock.box.notebooks.find(id);

test("a form that is refused says so at its field, and what is typed stays", async () => {
  await page.goto(`${mock.url}/notebooks/new?name=typed&git=https://nowhere.example/a/b.git&ref=dev`);
  await page.locator(".pick").first().waitFor();
  await button("Start the notebook").click();
  await page.locator(".field:has(#image) .wrong").getByText("Name the image").waitFor();
  await page.getByLabel("Image").fill("jupyter/scipy-notebook");
  await button("Start the notebook").click();
  await page.locator(".field:has(#workspace) .wrong").getByText("no git repository").waitFor();
  assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "typed");
  assert.equal(await page.getByLabel("Branch, tag or commit").inputValue(), "dev");
});

test("everything of the form reaches the notebook", async () => {
  await page.getByLabel("Git address").fill("https://git.example/a/b.git");
  await page.locator(".pick", { hasText: "gpu-1" }).click();
  await button("Add a dataset").click();
  await page.getByLabel("Reference of dataset 1").fill("digits:stable");
  await page.getByLabel("Keep packages that are installed with pip").check();
  await page.getByLabel("Whatever is done in it").selectOption({ label: "After 4 h" });
  await page.getByLabel("When nothing is done in it").selectOption({ label: "Never" });
  await button("Add a variable").click();
  await page.getByLabel("Name of variable 1").fill("EPOCHS");
  await page.getByLabel("Value of variable 1").fill("3");
  await page.getByLabel("Tags").fill("a, b");
  await page.getByText("Advanced: command").click();
  await page.getByLabel("Command").fill("jupyter lab --port 8888");
  await button("Start the notebook").click();
  await page.getByRole("heading", { name: "typed" }).waitFor();
  const { spec } = mock.box.notebooks.all[0];
  assert.deepEqual(
    { ...spec, project: undefined },
    { name: "typed", image: "jupyter/scipy-notebook", machineType: "gpu-1", workspace: { git: "https://git.example/a/b.git", ref: "dev" }, env: { EPOCHS: "3" }, datasets: [{ ref: "digits:stable", name: "digits" }], keepPackages: true, shutdownSeconds: 14_400, idleSeconds: null, public: false, tags: ["a", "b"], command: "jupyter lab --port 8888", project: undefined },
  );
});

test("a notebook can be opened as soon as it answers, and not before", async () => {
  const { id } = mock.box.notebooks.all[0];
  await chip("starting").waitFor();
  assert.ok(await button("Open JupyterLab").isDisabled());
  await page.getByText("Its server does not answer yet").waitFor();
  mock.box.notebooks.answer(id);
  await chip("running").waitFor();
  const [tab] = await Promise.all([page.context().waitForEvent("page"), button("Open JupyterLab").click()]);
  await tab.waitForURL(`**/w/${id}/?gradientd-ticket=gdt_mock`);
  await tab.close();
});

test("only what was changed in the settings is sent, and what was emptied is said", async () => {
  const { id } = mock.box.notebooks.all[0];
  const asked = [];
  await page.route(`**/api/v1/notebooks/${id}`, (route) => {
    if (route.request().method() === "PATCH") asked.push(route.request().postDataJSON());
    return route.continue();
  });
  await page.getByRole("link", { name: "Settings" }).click();
  await page.locator(".pick").first().waitFor();
  await page.getByLabel("Tags").fill("");
  await button("Remove variable 1").click();
  await page.getByLabel("When nothing is done in it").selectOption({ label: "After 1 h" });
  await button("Save").click();
  await page.getByText("Saved. What its container").waitFor();
  assert.deepEqual(asked, [{ env: {}, idleSeconds: 3600, tags: [] }]);
  await page.unroute(`**/api/v1/notebooks/${id}`);
});

test("more time is added to the time that is left", async () => {
  await page.goto(`${mock.url}/notebooks/nsoon000`);
  await page.locator(".session-end[data-tone=waiting]").waitFor();
  await button("+1 h").click();
  await page.locator(".session-end[data-tone=quiet]").waitFor();
  const [seconds] = mock.box.notebooks.extended;
  assert.ok(seconds > 3600 + 300 && seconds <= 3600 + 540, `${seconds}`);
});

test("a session that ends soon is told on whatever page one is, and only to whom it concerns", async () => {
  await page.goto(`${mock.url}/jobs`);
  await page.locator("job-table tr").first().waitFor();
  mock.box.emit("notebook", "nsoon000", "stops-soon"); // Somebody else's.
  mock.box.emit("notebook", "n4kq0z81", "stops-soon");
  await page.locator("toast-list").getByText("train-digits stops in").click();
  await page.getByRole("heading", { name: "train-digits" }).waitFor();
  assert.equal(await page.locator("toast-list").getByText("evaluate").count(), 0);
});

test("a notebook that failed says why, with the last lines that it printed", async () => {
  await page.goto(`${mock.url}/notebooks/nfailed0`);
  await page.getByText("No Jupyter server answered on port 8888").waitFor();
  await page.getByRole("region", { name: "Last lines" }).getByText("Python 3.12.7").waitFor();
});

test("a kernel that was killed for memory is told where one works, with how often and what to do, until another start", async () => {
  const { notebooks } = mock.box;
  await page.goto(`${mock.url}/notebooks/n4kq0z81`);
  await chip("running").waitFor();
  assert.equal(await page.locator(".memory-note").count(), 0);
  notebooks.runOutOfMemory("n4kq0z81");
  const note = page.locator(".memory-note");
  await note.getByText("It ran out of memory").waitFor();
  await note.getByText("A process was killed because the 64.0 GiB of memory of the machine type were full.").waitFor();
  assert.equal(await note.getByText("times").count(), 0);
  notebooks.runOutOfMemory("n4kq0z81");
  await note.getByText("It ran out of memory 2 times, last").waitFor();
  await picture(page, "notebook-out-of-memory");
  notebooks.runOutOfMemory("nsoon000");
  await page.goto(`${mock.url}/notebooks/nsoon000`);
  await note.waitFor();
  notebooks.start("nsoon000", {});
  await note.waitFor({ state: "detached" });
});

test("an editor gets an address with a token, which is shown once", async () => {
  await page.goto(`${mock.url}/notebooks/n4kq0z81/connect`);
  await button("Make a token").click();
  await page.getByRole("region", { name: "Address with the token" }).getByText("/w/n4kq0z81/?token=gdw_").waitFor();
  await page.getByRole("button", { name: "Hide the token" }).click();
  assert.equal(await page.getByText("gdw_").count(), 0);
  await page.getByLabel("Port", { exact: true }).fill("6006");
  const [tab] = await Promise.all([page.context().waitForEvent("page"), button("Open").click()]);
  await tab.waitForURL("**/w/n4kq0z81-6006/**");
  await tab.close();
});

test("a notebook is renamed where its name stands", async () => {
  await page.goto(`${mock.url}/notebooks/nstopped`);
  await button("Rename course").click();
  await page.getByLabel("Name", { exact: true }).fill("lessons");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "lessons" }).waitFor();
  assert.equal(notebook("nstopped").name, "lessons");
});

test("a stopped notebook is started on another machine, and stopped", async () => {
  await button("Start on…").click();
  const dialog = page.getByRole("dialog");
  await dialog.locator(".pick", { hasText: "cpu-large" }).click();
  await dialog.getByRole("button", { name: "Start" }).click();
  await chip("starting").waitFor();
  assert.equal(notebook("nstopped").machineType, "cpu-large");
  await button("Stop").click();
  await chip("stopped").waitFor();
});

test("sharing says what it means and has the badge of a notebook that began as a repository", async () => {
  await button("Share").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("may look at its files and fork it").waitFor();
  await dialog.getByRole("region", { name: "Badge as Markdown" }).getByText(`[![Run on Gradient](${mock.url}/run-on-gradient.svg)](${mock.url}/github/lovelace/course/blob/main?clone=true&runtime=`).waitFor();
  await dialog.getByLabel("Public on this box").uncheck();
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal(notebook("nstopped").public, false);
});

test("a notebook of another team is looked at and forked, and nothing else", async () => {
  await page.goto(`${mock.url}/notebooks/npublic0`);
  await page.getByText("attention.ipynb").waitFor();
  for (const name of ["Start", "Delete", "Share", "Upload", "New folder"]) assert.equal(await button(name).count(), 0, name);
  await button("Fork").click();
  await page.getByRole("dialog").getByRole("button", { name: "Fork" }).click();
  await page.getByRole("heading", { name: "Fork of attention-explained" }).waitFor();
});

test("deleting asks by name and goes back to the list", async () => {
  await button("Delete").click();
  await page.getByRole("heading", { name: "Delete Fork of attention-explained?" }).waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "Notebooks", exact: true }).waitFor();
  assert.equal(await page.getByRole("link", { name: "Fork of attention-explained" }).count(), 0);
});

test("the list shows whose are asked for, and follows what happens elsewhere", async () => {
  await page.locator("tr[data-notebook=nsoon000]").waitFor();
  await button("Mine").click();
  await page.locator("tr[data-notebook=nsoon000]").waitFor({ state: "detached" });
  mock.box.notebooks.stop("n4kq0z81");
  await page.locator("tr[data-notebook=n4kq0z81] state-chip[state=stopped]").waitFor();
  await button("Public").click();
  await page.getByRole("link", { name: "attention-explained" }).waitFor();
});

test("a link to a repository asks first, then makes the notebook and opens that file", async () => {
  const before = mock.box.notebooks.all.length;
  await page.goto(`${mock.url}/git/code.example/team/sub/course/-/blob/v1.0/lessons/01%20intro.ipynb?clone=true&runtime=ghost/jupyter:1`);
  await page.getByText("code.example/team/sub/course").first().waitFor();
  assert.equal(mock.box.notebooks.all.length, before, "nothing is made by a link alone");
  await page.locator(".pick").first().waitFor();
  await button("Make the notebook").click();
  await page.locator("main state-chip", { hasText: "starting" }).waitFor();
  const { id, spec } = mock.box.notebooks.all[0];
  assert.deepEqual(spec.workspace, { git: "https://code.example/team/sub/course.git", ref: "v1.0" });
  assert.equal(spec.image, "ghost/jupyter:1");
  const open = page.getByRole("button", { name: "Open 01 intro.ipynb" });
  assert.ok(await open.isDisabled());
  mock.box.notebooks.answer(id);
  const [tab] = await Promise.all([page.context().waitForEvent("page"), open.click()]);
  await tab.waitForURL(`**/w/${id}/lab/tree/lessons/01%20intro.ipynb?gradientd-ticket=gdt_mock`);
  await tab.close();
  await sees(page, `inline-name h1`);
  assert.equal(new URL(page.url()).pathname, `/notebooks/${id}`);
});

test("the form of a notebook reads back what it wrote", async () => {
  const [spec, again, none] = await page.evaluate(async () => {
    const { changesOfNotebook, draftOfNotebook, emptyNotebook, specOfNotebook } = await import("/pages/notebook-draft.js");
    const spec = { name: "n", project: "p", image: "i", machineType: "gpu-1", env: { A: "1", B: "secret:HF" }, datasets: [{ ref: "d:1", name: "d" }], keepPackages: true, shutdownSeconds: 7200, idleSeconds: null, public: true, tags: ["a"], command: ["jupyter", "lab"], user: "me", sharedMemoryBytes: 64 * 1024 * 1024, registryUsername: "u", registryPassword: "secret:P" };
    const draft = draftOfNotebook(spec);
    return [spec, specOfNotebook(draft), [changesOfNotebook(draft, draftOfNotebook(spec)), specOfNotebook(emptyNotebook())]];
  });
  assert.deepEqual(again, spec);
  assert.deepEqual(none, [{}, {}]);
});

test("data is added and taken away while a notebook runs, and what is wrong with its file is said", async () => {
  // It was stopped further up.
  mock.box.notebooks.start("n4kq0z81", {});
  mock.box.notebooks.answer("n4kq0z81");
  await page.goto(`${mock.url}/notebooks/n4kq0z81/data`);
  const row = (name) => page.locator(`tr[data-name="${name}"]`);
  await row("digits").getByText("mounted").waitFor();
  await row("corpus").getByText(/11(\.0)? GiB of 42(\.0)? GiB/).waitFor();
  await row("lab").getByText("S3 sources are not available").waitFor();
  assert.equal(await row("words").getByRole("button", { name: "Remove /datasets/words" }).count(), 0, "every notebook has it");
  await page.getByText("settings.yaml is not right yet").waitFor();
  assert.match(await page.getByRole("link", { name: "Open the file" }).getAttribute("href"), /path=\.gradient&file=\.gradient%2Fsettings\.yaml/);
  await picture(page, "notebook-data");

  await button("Add a dataset").click();
  await page.getByLabel("Dataset", { exact: true }).fill("nothing");
  await page.getByRole("dialog").getByRole("button", { name: "Add", exact: true }).click();
  await page.getByText("there is no dataset “nothing”").waitFor();
  await page.getByLabel("Dataset", { exact: true }).fill("digits");
  await page.getByText("there is no dataset “nothing”").waitFor({ state: "detached" });
  await page.getByLabel("Version", { exact: true }).selectOption({ label: "latest: the newest one when it is mounted" });
  assert.equal(await page.locator("#data-name").inputValue(), "digits");
  await page.locator("#data-name").fill("fresh");
  await picture(page, "notebook-data-add");
  await page.getByRole("dialog").getByRole("button", { name: "Add", exact: true }).click();
  await row("fresh").getByText("mounted").waitFor();

  await row("digits").getByRole("button", { name: "Move to v2bbbbb" }).click();
  await row("digits").getByText("asked for as digits:v2bbbbb").waitFor();
  await row("fresh").getByRole("button", { name: "Remove /datasets/fresh" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove", exact: true }).click();
  await row("fresh").waitFor({ state: "detached" });

  await button("Add an S3 source").click();
  await page.locator("#s3-url").fill("s3://lab/more");
  await page.getByLabel("Another one").check();
  await page.getByLabel("Endpoint").fill("https://minio.lab.example");
  await page.getByLabel("Access key id").fill("LABKEY");
  await page.locator("#s3-secret").fill("S3_KEY");
  await page.locator("#s3-name").fill("more");
  await picture(page, "notebook-data-s3");
  await page.getByRole("dialog").getByRole("button", { name: "Add", exact: true }).click();
  await row("more").getByText("s3://lab/more").waitFor();
  const [sent] = mock.box.notebooks.integrations("n4kq0z81").items.filter(({ name }) => name === "more");
  assert.deepEqual([sent.s3.secretAccessKey, sent.s3.endpoint, sent.s3.region], ["secret:S3_KEY", "https://minio.lab.example", null]);
});

test("while the file is broken, what the session has and has not stays on the page beneath the mistake", async () => {
  const { notebooks } = mock.box;
  notebooks.start("n4kq0z81", {});
  notebooks.answer("n4kq0z81");
  const data = notebooks.integrations("n4kq0z81");
  const message = "line 4, column 9, at “lab”, url: there is a colon where none is expected: one is missing in the line before, or the text needs quotes";
  const [first, ...others] = data.items.filter(({ name }) => name !== "more");
  notebooks.data.set("n4kq0z81", { hasFile: true, problems: [{ name: null, message }], items: [{ ...first, state: "mounting" }, ...others] });
  notebooks.s3Sources = false;
  await page.goto(`${mock.url}/notebooks/n4kq0z81/data`);
  await page.getByText("line 4, column 9, at “lab”, url").waitFor();
  await page.getByText("the session keeps what it says below").waitFor();
  const row = (name) => page.locator(`tr[data-name="${name}"]`);
  await row("lab").getByText("failed").waitFor();
  await row(first.name).getByText("mounting").waitFor();
  assert.equal(await button("Add an S3 source").isDisabled(), true);
  await picture(page, "notebook-data-broken-file");
  notebooks.s3Sources = true;
});

test("a notebook without data says how to get some", async () => {
  await page.goto(`${mock.url}/notebooks/nstopped/data`);
  await page.getByText("No data yet").waitFor();
  await picture(page, "notebook-data-empty");
});
