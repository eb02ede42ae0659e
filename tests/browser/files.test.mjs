// Files without a session, on invented data: looked at, brought, changed, and never believed.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { openBrowser, picture } from "./browser.mjs";
import { startMock } from "./mock.mjs";

const ROOT = "n4kq0z81";
let mock, browser, page, folder, files;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gradientd-files-"));
  browser = await openBrowser();
});

beforeEach(async () => {
  mock = await startMock();
  files = mock.box.files;
  page = await browser.tab();
  await page.goto(mock.signIn);
  await page.waitForSelector("nav.nav");
  await page.goto(`${mock.url}/notebooks/${ROOT}`);
  await row("train.ipynb").waitFor();
});

afterEach(async () => {
  assert.deepEqual(page.complaints.splice(0), []);
  await page.close({ runBeforeUnload: false });
  await mock.close();
});

after(async () => {
  await browser.close();
  await rm(folder, { recursive: true, force: true });
});

const button = (name) => page.getByRole("button", { name, exact: true });
const row = (name) => page.locator(".entries tr", { hasText: name });
const choose = (name) => page.getByRole("checkbox", { name: `Choose ${name}`, exact: true }).check();
const has = (path) => files.root(ROOT).has(path);
const answer = async (name, value) => {
  const dialog = page.getByRole("dialog");
  if (value !== undefined) await dialog.locator("input").fill(value);
  await dialog.getByRole("button", { name }).click();
};

test("a folder is entered and left by its link, and the address says where one is", async () => {
  await page.getByRole("link", { name: "data", exact: true }).click();
  await page.getByRole("link", { name: "labels.txt" }).click();
  await page.locator(".preview-text").getByText("zero").waitFor();
  assert.equal(new URL(page.url()).search, "?path=data&file=data%2Flabels.txt");
  await page.reload();
  await page.locator(".preview-text").getByText("zero").waitFor();
  await page.getByRole("link", { name: "/notebooks", exact: true }).click();
  await row("README.md").waitFor();
});

test("a notebook is read as it was saved and nothing of it is believed", async () => {
  await page.getByRole("link", { name: "train.ipynb" }).click();
  const view = page.locator("notebook-view");
  await view.getByText("epoch 2 loss 0.333").waitFor();
  await view.getByText("ZeroDivisionError: division by zero").waitFor();
  await view.locator("img").waitFor();
  assert.match(await view.locator("img").getAttribute("src"), /^data:image\/png;base64,/);
  await view.getByText("text/html is not shown here").click();
  await view.getByText("<b>bold</b>").waitFor();
  await view.getByText(`<img src=x onerror="window.owned = true">`).waitFor();
  assert.equal(await view.locator("script, svg, iframe, b, [onclick], [onerror]").count(), 0);
  assert.equal(await page.evaluate(() => window.owned), undefined);
  await page.getByRole("link", { name: "README.md" }).click();
  await page.locator(".preview-markdown").getByText("<script>window.owned = true</script>").waitFor();
  assert.equal(await page.locator(".preview-markdown script").count(), 0);
  assert.equal(await page.locator(".preview-markdown a").getAttribute("rel"), "noopener noreferrer");
});

test("links of a text that are no web addresses are words", async () => {
  files.put(ROOT, "evil.md", Buffer.from("[run](javascript:alert(1)) ![p](https://tracker.example/a.png) ![q](data:text/html;base64,AAAA) [in](/keys) **" + "a".repeat(20_000)));
  await page.goto(`${mock.url}/notebooks/${ROOT}?file=evil.md`);
  await page.locator(".preview-markdown").waitFor();
  files.put(ROOT, "evil.md", Buffer.from("[run](javascript:alert(1)) ![p](https://tracker.example/a.png) ![q](data:text/html;base64,AAAA) [in](/keys)"));
  await page.reload();
  await page.locator(".preview-markdown a").waitFor();
  assert.deepEqual(await page.locator(".preview-markdown a").evaluateAll((links) => links.map((link) => link.href)), ["https://tracker.example/a.png"]);
  assert.equal(await page.locator(".preview-markdown img").count(), 0);
});

test("folders and files are made, renamed, duplicated, moved and deleted", async () => {
  await button("New folder").click();
  await answer("Create", "kept");
  await row("kept").waitFor();
  await choose("results.csv");
  await button("Rename").click();
  await answer("Rename", "figures.csv");
  await row("figures.csv").waitFor();
  await choose("figures.csv");
  await button("Duplicate").click();
  await row("figures copy.csv").waitFor();
  await choose("figures copy.csv");
  await choose("loss.png");
  await button("Move").click();
  await answer("Move", "/kept/deep/");
  await row("loss.png").waitFor({ state: "detached" });
  assert.ok(has("kept/deep/figures copy.csv") && has("kept/deep/loss.png") && has("figures.csv") && !has("results.csv"));
  await choose("kept");
  await button("Delete").click();
  await page.getByRole("heading", { name: "Delete kept?" }).waitFor();
  await page.getByText("with everything in the folders").waitFor();
  await answer("Delete");
  await row("kept").waitFor({ state: "detached" });
  assert.ok(!has("kept/deep/loss.png"));
});

test("a name that is taken is refused in the dialog, and nothing is lost", async () => {
  await choose("train.py");
  await button("Rename").click();
  await answer("Rename", "README.md");
  await page.getByRole("dialog").getByText("There is something called README.md already").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  assert.ok(has("train.py") && has("README.md"));
});

test("a copy that takes long is followed to its end", async () => {
  files.slowTasks = true;
  await choose("checkpoints");
  await button("Duplicate").click();
  await page.getByText("Copying").waitFor();
  await picture(page, "files-copying", { fullPage: true });
  for (const task of files.tasks.values()) task.state = "done";
  await page.getByText("Copying").waitFor({ state: "detached" });
  await row("checkpoints copy").waitFor();
});

test("text is edited, and what others saved meanwhile is not overwritten", async () => {
  await page.getByRole("link", { name: "train.py" }).click();
  await button("Edit as text").click();
  const text = page.getByLabel("Text of train.py");
  await text.fill("print(1)\n");
  await button("Save").click();
  await page.getByText("train.py was saved").waitFor();
  assert.equal(files.root(ROOT).get("train.py").content.toString(), "print(1)\n");

  files.put(ROOT, "train.py", Buffer.from("print('theirs')\n"));
  await text.fill("print('mine')\n");
  await button("Save").click();
  await page.getByText("It was changed meanwhile").waitFor();
  await picture(page, "files-changed-meanwhile", { fullPage: true });
  assert.equal(files.root(ROOT).get("train.py").content.toString(), "print('theirs')\n");
  await button("Take theirs").click();
  await page.waitForFunction(() => document.querySelector(".file-editor textarea")?.value === "print('theirs')\n");
  files.put(ROOT, "train.py", Buffer.from("print('again')\n"));
  await text.fill("print('mine')\n");
  await button("Save").click();
  await button("Overwrite with mine").click();
  await page.getByText("It was changed meanwhile").waitFor({ state: "detached" });
  assert.equal(files.root(ROOT).get("train.py").content.toString(), "print('mine')\n");
});

test("files are uploaded into the folder that is open, and none is replaced unasked", async () => {
  await writeFile(join(folder, "labels.txt"), "three\n");
  await writeFile(join(folder, "new.txt"), "new\n");
  await page.getByRole("link", { name: "data", exact: true }).click();
  await row("labels.txt").waitFor();
  await button("Upload").click();
  await page.getByText("They go into").waitFor();
  await page.getByLabel("Choose files").setInputFiles([join(folder, "labels.txt"), join(folder, "new.txt")]);
  await page.getByText("1 file was uploaded, 1 failed").waitFor();
  await row("new.txt").waitFor();
  assert.equal(files.root(ROOT).get("data/labels.txt").content.toString(), "zero\none\ntwo\n");
  await page.getByLabel("Replace files of the same name").check();
  await button("Retry 1 failed file").click();
  await page.getByText("2 files were uploaded").waitFor();
  assert.equal(files.root(ROOT).get("data/labels.txt").content.toString(), "three\n");
});

test("what is dropped on the list is uploaded there", async () => {
  const data = await page.evaluateHandle(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(["dropped\n"], "dropped.txt"));
    return transfer;
  });
  await page.locator(".folder-card").dispatchEvent("drop", { dataTransfer: data });
  await row("dropped.txt").waitFor();
  assert.equal(files.root(ROOT).get("dropped.txt").content.toString(), "dropped\n");
});

test("a large file goes on where it was broken off, also after a new visit", async () => {
  const large = join(folder, "large.bin");
  await writeFile(large, Buffer.alloc(40 * 1024 * 1024, 1));
  files.refusePiece = (offset) => (offset > 0 ? 409 : null);
  await button("Upload").click();
  await page.getByLabel("Choose files").setInputFiles(large);
  await page.getByText("1 failed").first().waitFor();
  files.refusePiece = () => null;
  await page.reload();
  await button("Upload").click();
  await page.getByText("Unfinished uploads").waitFor();
  await page.getByLabel("Choose files").setInputFiles(large);
  await row("large.bin").waitFor();
  assert.deepEqual(files.pieces.map(([offset]) => offset / 1024 / 1024), [0, 16, 32]);
  assert.equal(files.uploads.size, 0);
});

test("chosen files become a version, which is followed to its end also after a new visit", async () => {
  const { data } = mock.box;
  await choose("data");
  await button("New dataset version…").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Dataset", { exact: true }).selectOption({ label: "a new one…" });
  await dialog.getByLabel("Name of the new dataset").fill("not a name");
  await dialog.getByRole("button", { name: "Make the version" }).click();
  await dialog.getByText("letters, digits, dots").waitFor();
  await dialog.getByLabel("Name of the new dataset").fill("labels");
  await dialog.getByLabel("Message").fill("from the notebook");
  await dialog.getByLabel("Tag").fill("good");
  await picture(page, "version-of-files-asked");
  await dialog.getByRole("button", { name: "Make the version" }).click();
  const task = page.getByLabel("Dataset versions");
  await task.getByText("running").waitFor();
  assert.deepEqual(data.begunFrom, { from: { root: ROOT, beneath: "data" }, message: "from the notebook", tags: ["good"], commit: true });
  data.advanceImports(5);
  await task.getByText("5 files").waitFor();
  await picture(page, "version-of-files-under-way", { fullPage: true });
  await page.reload();
  await task.getByText("5 files").waitFor();
  data.advanceImports(12);
  await task.getByRole("link", { name: "Open the version" }).waitFor();
  await picture(page, "version-of-files-made", { fullPage: true });
  await task.getByRole("link", { name: "Open the version" }).click();
  await page.waitForURL(/\/datasets\/dsnew\d+\/versions\/vnew/);
});

test("a version goes on from the latest with the paths that were chosen, and what went wrong is said", async () => {
  const { data } = mock.box;
  await page.getByRole("link", { name: "data", exact: true }).click();
  await choose("labels.txt");
  await choose("raw");
  await button("New dataset version…").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Begin with the files of the latest version").click();
  await dialog.getByText("Commit it when all is there").click();
  await dialog.getByRole("button", { name: "Make the version" }).click();
  const task = page.getByLabel("Dataset versions");
  await task.getByText("running").waitFor();
  const { from, parent, commit } = data.begunFrom;
  assert.deepEqual([from.beneath, [...from.paths].sort(), parent, commit], ["data", ["labels.txt", "raw"], "latest", false]);
  Object.assign(data.imports[0], { state: "failed", finishedAt: new Date().toISOString(), message: "“raw/log” changes while it is read: try again when nothing writes to it, or choose files without it" });
  await task.getByText("changes while it is read").waitFor();
  await task.getByText("add to it, commit or delete it").waitFor();
  await picture(page, "version-of-files-failed", { fullPage: true });
  await task.getByRole("button", { name: /Put away/ }).click();
  await task.waitFor({ state: "detached" });
});

test("an empty folder is refused in the form, before anything is made", async () => {
  const { data } = mock.box;
  const before = [data.datasets.length, data.begunFrom];
  await button("New folder").click();
  await answer("Create", "empty");
  await choose("empty");
  await button("New dataset version…").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Dataset", { exact: true }).selectOption({ label: "a new one…" });
  await dialog.getByLabel("Name of the new dataset").fill("of-nothing");
  await dialog.getByRole("button", { name: "Make the version" }).click();
  await dialog.getByText("There is no file in empty").waitFor();
  await picture(page, "version-of-nothing-refused");
  assert.deepEqual([data.datasets.length, data.begunFrom], before);
});

test("folders and choices are downloaded as one archive", async () => {
  await choose("data");
  await choose("README.md");
  const [archive] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download", exact: true }).click()]);
  assert.equal(new URL(archive.url()).search, "?format=zip&path=data&path=README.md");
});
