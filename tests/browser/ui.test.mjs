// What a person does in the browser, from the sign-in link to signing out.
//
// Against a real daemon: GRADIENTD_URL=http://127.0.0.1:7070 GRADIENTD_SIGN_IN=LINK node --test ui.test.mjs
// (the link is a one-time link, the box needs the images gradient-test/busybox and
// gradient-test/jupyter). Without them the stories run on the mock, which proves the pages and not the
// daemon; what happens inside JupyterLab is left out there.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { openBrowser, picture, shown } from "./browser.mjs";
import { startMock } from "./mock.mjs";

const IMAGE = process.env.GRADIENTD_TEST_IMAGE ?? "gradient-test/busybox";
const TRAIN = `i=0; while [ $i -lt 900 ]; do i=$((i+1)); echo "step $i"; echo "{\\"chart\\": \\"loss\\", \\"x\\": $i, \\"y\\": 0.$((999-i))}"; sleep 0.2; done`;
const JUPYTER = process.env.GRADIENTD_TEST_JUPYTER ?? "gradient-test/jupyter";
const SLOW = { timeout: 120_000 }; // JupyterLab starts, on a machine that is busy with other tests.
/** Learns the digits in a moment, and says how well. */
const LEARN = "from sklearn.datasets import load_digits\nfrom sklearn.linear_model import LogisticRegression\nx, y = load_digits(return_X_y=True)\nmodel = LogisticRegression(max_iter=50).fit(x[:1500] / 16, y[:1500])\nprint('accuracy', round(model.score(x[1500:] / 16, y[1500:]), 1))";
const STAMP = Date.now().toString(36); // A box may hold what an earlier run left.
const JOB = `browser-${STAMP}`;
const PROJECT = `project-${STAMP}`;
const SECRET = `SECRET_${STAMP}`;
const DATASET = `data-${STAMP}`;
const NOTEBOOK = `notebook-${STAMP}`;
const ON_MOCK = !process.env.GRADIENTD_URL && "only a real daemon runs JupyterLab";

let mock, browser, page, url, jobPath, lab;

before(async () => {
  if (!process.env.GRADIENTD_URL) mock = await startMock();
  url = process.env.GRADIENTD_URL ?? mock.url;
  browser = await openBrowser();
  page = await browser.tab();
});

after(async () => {
  await browser?.close();
  await mock?.close();
});

afterEach(async (context) => {
  if (context.passed === false) {
    await picture(page, "failed");
    context.diagnostic(await shown(page));
    if (lab && !lab.isClosed()) {
      await picture(lab, "failed-lab");
      context.diagnostic(await shown(Object.assign(lab, { complaints: [], unanswered: () => [] })));
    }
  }
  assert.deepEqual(page.complaints.splice(0), [], "the browser complained");
});

const link = (name) => page.getByRole("link", { name, exact: true });
const button = (name) => page.getByRole("button", { name, exact: true });
const chip = () => page.locator("main .job-title state-chip");
const path = () => new URL(page.url()).pathname;

test("a page asks for a sign-in and the one-time link gives it", async () => {
  await page.goto(`${url}/jobs`);
  await page.getByRole("heading", { name: "Sign in to gradientd" }).waitFor();
  assert.equal(path(), "/sign-in");
  await picture(page, "story-1-sign-in");

  await page.goto(process.env.GRADIENTD_SIGN_IN ?? mock.signIn);
  await page.getByRole("navigation", { name: "Main" }).waitFor();
  assert.equal(path(), "/");
  assert.equal(new URL(page.url()).hash, "", "the token left the address");
  await page.getByRole("heading", { name: "GPUs", exact: true }).waitFor();
  await picture(page, "story-2-overview", { fullPage: true });
});

test("the form names the field that is wrong and sends nothing", async () => {
  await link("New job").first().click();
  await page.getByRole("heading", { name: "New job" }).waitFor();
  await page.getByLabel("Command").fill("true");
  await page.locator(".pick").first().waitFor();
  await button("Start the job").click();
  await page.locator(".wrong, .problem").first().waitFor();
  assert.equal(path(), "/jobs/new");
  await picture(page, "story-3-wrong", { fullPage: true });
});

test("a job that names a missing secret is refused with its name", async () => {
  await page.getByLabel("Image").fill(IMAGE);
  await button("Add a variable").click();
  await page.getByLabel("Name of variable 1").fill("TOKEN");
  await page.getByLabel("Value of variable 1").fill(`secret:${SECRET}`);
  await button("Start the job").click();
  await page.locator(".wrong, .problem").filter({ hasText: SECRET }).waitFor();
  await button("Remove variable 1").click();
});

test("a submitted job opens and its log is live", async () => {
  await page.getByLabel("Command").fill(TRAIN);
  await page.getByLabel("Name", { exact: true }).fill(JOB);
  await page.getByLabel("Project").fill(PROJECT);
  await page.getByText("More: limits").click();
  await page.getByLabel("Tags").fill(`t${STAMP}`);
  await button("Start the job").click();
  await page.getByRole("heading", { name: JOB }).waitFor();
  jobPath = path();
  await page.evaluate(() => (window.sameDocument = true));
  await page.getByText("step 3", { exact: true }).waitFor({ timeout: 60_000 });
  await page.getByText("step 12", { exact: true }).waitFor();
  await page.waitForFunction(() => document.querySelector("main .job-title state-chip").textContent === "running");
  assert.ok(await page.evaluate(() => window.sameDocument), "the page was not loaded again");
  await picture(page, "story-4-log");
});

test("printed points become a chart that grows while one looks", async () => {
  await link("Charts").click();
  await page.locator("line-chart canvas").waitFor();
  await page.getByRole("heading", { name: "loss" }).waitFor();
  const points = () => page.evaluate(() => Number(/(\d+) points/.exec(document.querySelector("line-chart").ariaLabel ?? document.querySelector("line-chart").getAttribute("aria-label"))[1]));
  const before = await points();
  await page.waitForFunction((count) => Number(/(\d+) points/.exec(document.querySelector("line-chart").getAttribute("aria-label"))[1]) > count, before);
  await picture(page, "story-5-chart");
});

test("the log is searched, linked to by line, and followed again", async () => {
  await link("Log").click();
  await page.locator("log-view .line").first().waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("step 7");
  await page.locator("log-view .line.found mark").first().waitFor();
  assert.equal(await button("Follow").getAttribute("aria-pressed"), "false", "a found line stops the follow");
  await page.getByLabel("Search the log").fill("");
  await page.goto(`${url}${jobPath}#L5`);
  await page.reload();
  await page.locator("log-view .line.marked").waitFor();
  assert.equal(await page.locator("log-view .line.marked > a").textContent(), "5");
  // The link to a line has ended the follow; pressing before that would only end it.
  await page.locator('log-view button[aria-pressed="false"]').waitFor();
  await button("Follow").click();
  await page.locator('log-view button[aria-pressed="true"]').waitFor();
});

test("metrics, artifacts and the spec have their pages", async () => {
  await link("Metrics").click();
  await page.locator("line-chart canvas").first().waitFor({ timeout: 30_000 });
  await link("Artifacts").click();
  await page.locator("job-artifacts").getByText(/Nothing yet|Name/).first().waitFor();
  await link("Spec").click();
  await page.getByRole("region", { name: "Spec as JSON" }).getByText(IMAGE).waitFor();
  await page.getByRole("region", { name: "Request as curl" }).getByText("curl -fsS").waitFor();
});

test("filters live in the address and survive a reload", async () => {
  await page.goto(`${url}/jobs`);
  await button("Running").click();
  await page.locator("main [data-search]").fill(JOB);
  await page.waitForURL((address) => address.searchParams.get("q") === JOB);
  await page.reload();
  await page.locator("job-table tr.linked").first().waitFor();
  assert.equal(await page.locator("job-table tr.linked").count(), 1);
  assert.equal(await page.locator("main [data-search]").inputValue(), JOB);
  assert.equal(await button("Running").getAttribute("aria-pressed"), "true");
  await picture(page, "story-6-filtered");
});

test("a job stops, and an open list says so by itself", async () => {
  const other = await browser.tab();
  await other.goto(url + jobPath);
  await other.getByRole("button", { name: "Stop", exact: true }).click();
  await page.getByText("No job fits these filters").waitFor({ timeout: 60_000 });
  await other.waitForFunction(() => document.querySelector("main .job-title state-chip")?.textContent === "cancelled", null, { timeout: 60_000 });
  await other.getByText("complete").waitFor();
  assert.deepEqual(other.complaints, []);
  await picture(other, "story-7-cancelled");
  await other.close();
});

test("a clone begins as the job was", async () => {
  await page.goto(url + jobPath);
  await link("Clone").click();
  await page.getByRole("heading", { name: "Clone a job" }).waitFor();
  assert.equal(await page.getByLabel("Command").inputValue(), TRAIN);
  // A name without a tag means its latest.
  assert.ok((await page.getByLabel("Image").inputValue()).startsWith(IMAGE));
  assert.equal(await page.getByLabel("Project").inputValue(), PROJECT);
  await page.getByLabel("Command").fill("echo cloned");
  await page.getByRole("region", { name: "Request as curl" }).getByText('"cloneOf"').waitFor();
  await picture(page, "story-8-clone", { fullPage: true });
  await button("Start the job").click();
  await page.waitForURL((address) => /^\/jobs\/(?!new)/.test(address.pathname) && address.pathname !== jobPath);
  await page.getByText(/^clone of/).waitFor();
});

test("a project made on the fly shows its jobs", async () => {
  await link("Projects").click();
  await link(PROJECT).click();
  await page.getByRole("heading", { name: PROJECT }).waitFor();
  await page.locator("job-table").getByText(JOB).first().waitFor();
});

test("a secret is set, listed without its value, and deleted", async () => {
  await link("Secrets").click();
  await page.getByRole("heading", { name: "Secrets", exact: true }).waitFor();
  await page.getByLabel("Name", { exact: true }).fill(SECRET);
  await page.getByLabel("Value").fill("hunter2-and-more");
  await button("Set").click();
  await page.locator("td").getByText(SECRET).waitFor();
  assert.ok(!(await page.content()).includes("hunter2-and-more"));
  await picture(page, "story-9-secrets");
  await button(`Delete ${SECRET}`).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.locator("td").getByText(SECRET).waitFor({ state: "detached" });
});

test("a key is shown once and can be revoked", async () => {
  const name = `key-${STAMP}`;
  await link("Keys").click();
  await page.getByRole("heading", { name: "Keys", exact: true }).waitFor();
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.getByLabel("Scope").selectOption("read");
  await button("Create").click();
  const key = await page.locator(".new-key output").textContent();
  assert.match(key, /^gdk_/);
  const exports = page.getByRole("region", { name: "Variables of the gradient command line" });
  await exports.getByText(`export PAPERSPACE_CONFIG_HOST=${url}/gradient`).waitFor();
  assert.ok((await exports.textContent()).includes(`export PAPERSPACE_API_KEY=${key}`));
  await picture(page, "story-10-key", { fullPage: true });
  await page.reload();
  await page.locator("td").getByText(name).waitFor();
  assert.ok(!(await page.content()).includes(key), "the key is not shown again");
  await button(`Revoke ${name}`).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
  await page.locator("tr", { hasText: name }).getByText("revoked").or(page.locator("main").filter({ hasNotText: name })).first().waitFor();
});

test("a dataset is made, filled, committed and looked into", async () => {
  await link("Datasets").click();
  await button("New dataset").click();
  await page.getByRole("dialog").getByLabel("Name", { exact: true }).fill(DATASET);
  await page.getByRole("dialog").getByRole("button", { name: "Create" }).click();
  await page.getByRole("heading", { name: DATASET }).waitFor();
  await button("Begin the first version").click();
  await page.getByRole("dialog").getByLabel("Message").fill("From the browser");
  await page.getByRole("dialog").getByRole("button", { name: "Begin" }).click();
  await page.locator("upload-panel .drop").waitFor();
  await page.getByLabel("Choose files").setInputFiles([
    { name: "labels.csv", mimeType: "text/csv", buffer: Buffer.from("path,label\na.png,7\nb.png,3\n") },
    { name: "ü #1?.txt", mimeType: "text/plain", buffer: Buffer.from("a name that must be encoded\n") },
    { name: "empty", mimeType: "text/plain", buffer: Buffer.alloc(0) },
  ]);
  await page.getByText("3 files were uploaded").waitFor();
  await page.locator("file-tree .tree-row", { hasText: "labels.csv" }).click();
  await page.locator(".preview-table td").getByText("b.png").waitFor();
  await picture(page, "story-13-draft", { fullPage: true });
  await button("Commit").click();
  await page.getByRole("dialog").getByRole("button", { name: "Commit" }).click();
  await page.locator("main .job-title").getByText("latest").waitFor();
  await page.locator("file-tree .tree-row", { hasText: "ü #1?.txt" }).click();
  await page.locator(".preview-text").getByText("a name that must be encoded").waitFor();
  await link("About").click();
  await page.getByText("nobody yet").waitFor();
  await page.locator("main .crumbs").getByRole("link", { name: DATASET }).click();
  await page.locator("lineage-graph .node").first().waitFor();
  await picture(page, "story-14-dataset", { fullPage: true });
});

test("a new version starts from the last, and what changed is told", async () => {
  await button("New version").click();
  await page.getByRole("dialog").getByRole("button", { name: "Begin" }).click();
  await page.locator("file-tree .tree-row", { hasText: "labels.csv" }).waitFor();
  await page.getByLabel("Choose files").setInputFiles([{ name: "more.txt", mimeType: "text/plain", buffer: Buffer.from("more\n") }]);
  await page.getByText("1 file was uploaded").waitFor();
  await page.locator("file-tree .tree-row", { hasText: "empty" }).click();
  await page.locator("file-details").getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.locator("file-tree .tree-row", { hasText: "empty" }).waitFor({ state: "detached" });
  await button("Commit").click();
  await page.getByRole("dialog").getByRole("button", { name: "Commit" }).click();
  await page.locator("main .job-title").getByText("latest").waitFor();
  await link("Changes").click();
  await page.getByText("+1 added").waitFor();
  await page.getByText("−1 removed").waitFor();
});

test("a notebook is made in the form and opened when it answers", { skip: ON_MOCK }, async () => {
  await link("Notebooks").click();
  await link("New notebook").click();
  await page.getByLabel("Image").fill(JUPYTER);
  await page.getByLabel("Name", { exact: true }).fill(NOTEBOOK);
  await page.locator(".pick").first().waitFor();
  await button("Start the notebook").click();
  await page.getByRole("heading", { name: NOTEBOOK }).waitFor();
  await page.waitForFunction(() => document.querySelector("main .job-title state-chip").textContent === "running", null, SLOW);
  await page.getByText("Last activity").waitFor();
  await picture(page, "story-16-notebook", { fullPage: true });
  [lab] = await Promise.all([page.context().waitForEvent("page"), button("Open JupyterLab").click()]);
  await lab.locator(".jp-LauncherCard").first().waitFor(SLOW);
  assert.ok(!lab.url().includes("ticket"), "the ticket left the address");
  assert.notEqual(new URL(lab.url()).origin, url, "it has an origin of its own");
});

test("a cell that trains runs in JupyterLab through the proxy, and its output is saved", { skip: ON_MOCK }, async () => {
  const base = new URL(lab.url()).pathname.replace(/lab.*$/, "");
  const written = await lab.evaluate(async ([base, source]) => {
    const content = { cells: [{ cell_type: "code", id: "train", metadata: {}, source, outputs: [], execution_count: null }], metadata: { kernelspec: { name: "python3", display_name: "Python 3" } }, nbformat: 4, nbformat_minor: 5 };
    const answer = await fetch(`${base}api/contents/train.ipynb`, { method: "PUT", body: JSON.stringify({ type: "notebook", content }) });
    return answer.status;
  }, [base, LEARN]);
  assert.equal(written, 201);
  await lab.goto(new URL(`${base}lab/tree/train.ipynb`, lab.url()).href);
  // What is run before the kernel is there is dropped, and a dialog asks for one.
  await lab.getByText("Python 3 (ipykernel) | Idle").waitFor(SLOW);
  await lab.locator(".jp-Notebook .cm-content").first().click();
  await lab.keyboard.press("Shift+Enter");
  await lab.locator(".jp-OutputArea-output", { hasText: "accuracy 0.9" }).waitFor(SLOW);
  await lab.keyboard.press("Control+s");
  await picture(lab, "story-17-jupyterlab");
  await lab.waitForFunction(async (base) => (await (await fetch(`${base}api/contents/train.ipynb`)).text()).includes("accuracy 0.9"), base, SLOW);
  await lab.close();
});

test("a terminal in the notebook runs a command, and is there after a reload", { skip: ON_MOCK }, async () => {
  const shown = (text) => page.locator("terminal-screen:not([hidden]) .xterm-rows").getByText(text, { exact: true });
  await link("Terminal").click();
  await page.locator("terminal-screen .xterm-rows span").first().waitFor(SLOW);
  // What is typed before it has the focus goes nowhere.
  await page.locator("terminal-screen textarea:focus").waitFor();
  await page.keyboard.type("pwd; stty size; echo made in a terminal > from-terminal.txt; cat from-terminal.txt\r");
  await shown("/notebooks").waitFor();
  await shown("made in a terminal").waitFor();
  await picture(page, "story-17-terminal");
  await page.reload();
  await shown("made in a terminal").waitFor();
  await page.keyboard.type("exit\r");
  await page.getByText("The shell has exited.").waitFor();
  await link("Files").click();
  await page.getByRole("link", { name: "from-terminal.txt" }).waitFor();
});

test("what was done is read while the notebook is stopped, and is there when it starts again", { skip: ON_MOCK }, async () => {
  await button("Stop").click();
  await button("Start").waitFor(SLOW);
  await page.getByRole("link", { name: "train.ipynb" }).click();
  await page.locator("notebook-view").getByText("accuracy 0.9").waitFor();
  await picture(page, "story-18-read-while-stopped", { fullPage: true });
  await button("Start").click();
  await page.waitForFunction(() => document.querySelector("main .job-title state-chip").textContent === "running", null, SLOW);
  [lab] = await Promise.all([page.context().waitForEvent("page"), button("Open in JupyterLab").click()]);
  await lab.locator(".jp-OutputArea-output", { hasText: "accuracy 0.9" }).waitFor(SLOW);
  await lab.close();
  await link("Sessions").click();
  await page.locator("notebook-sessions tbody tr").nth(1).waitFor();
  await button("Stop").click();
  await button("Delete").click(SLOW);
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "Notebooks", exact: true }).waitFor();
});

test("storage shows what uses the disk", async () => {
  await link("Storage").click();
  await page.locator("storage-providers td").first().waitFor();
  await page.getByRole("region", { name: "What uses the disk" }).or(page.getByText("Being counted")).first().waitFor();
  await picture(page, "story-15-storage", { fullPage: true });
});

test("the theme is chosen by hand and kept", async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.getByRole("button", { name: /^Theme/ }).click(); // system → light
  const light = await ground();
  await page.getByRole("button", { name: /^Theme/ }).click(); // light → dark
  assert.notEqual(await ground(), light);
  const dark = await ground();
  await page.goto(`${url}/`);
  await page.getByRole("heading", { name: "GPUs", exact: true }).waitFor();
  assert.equal(await ground(), dark, "dark stays after a new load");
  await picture(page, "story-11-dark", { fullPage: true });
  await page.goto(url + jobPath);
  await page.locator("log-view .line").first().waitFor();
  await picture(page, "story-12-dark-log");
  await page.getByRole("button", { name: /^Theme/ }).click(); // dark → system
});

test("the keyboard reaches everything", async () => {
  await page.goto(`${url}/`);
  await page.getByRole("navigation", { name: "Main" }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.keyboard.press("g");
  await page.keyboard.press("j");
  await page.waitForURL(`${url}/jobs`);
  await page.locator("main [data-search]").waitFor();
  await page.keyboard.press("/");
  assert.ok(await page.evaluate(() => document.activeElement.matches("[data-search]")));
});

test("every control has a name", async () => {
  for (const place of ["/", "/jobs", jobPath, "/jobs/new", "/notebooks", "/notebooks/new", "/github/a/b/blob/main/c.ipynb", "/projects", "/datasets", `/datasets/${DATASET}`, "/storage", "/storage/files", "/secrets", "/keys"]) {
    await page.goto(url + place);
    await page.locator("main h1").waitFor();
    await page.waitForLoadState("domcontentloaded");
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll("button, a[href], input, select, textarea")]
        .filter((control) => control.checkVisibility() && !control.ariaLabel && !control.textContent.trim() && !control.labels?.length && !control.title)
        .map((control) => control.outerHTML),
    );
    assert.deepEqual(nameless, [], place);
  }
});

test("signing out closes the door behind", async () => {
  await button("Sign out").click();
  await page.getByRole("heading", { name: "Sign in to gradientd" }).waitFor();
  await page.goto(`${url}/secrets`);
  await page.getByRole("heading", { name: "Sign in to gradientd" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("next"), "/secrets");
  await page.goto(process.env.GRADIENTD_SIGN_IN ?? mock.signIn);
  await page.getByText("This sign-in link was used already").waitFor();
});
