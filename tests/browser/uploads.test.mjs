// Uploads into a draft: folders dropped, failures, quota, pause, and large files that go on after a reload.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { openBrowser, picture } from "./browser.mjs";
import { startMock } from "./mock.mjs";

const MIB = 1024 ** 2;
const DRAFT = "/datasets/dsdigits/versions/v4ddddd";

let mock, browser, page, folder, data;

before(async () => {
  browser = await openBrowser();
  folder = await mkdtemp(join(tmpdir(), "gradientd-upload-"));
  await mkdir(join(folder, "many/deep"), { recursive: true });
  // More than a directory reader gives at a time.
  for (let i = 0; i < 250; i += 1) await writeFile(join(folder, `many/${String(i).padStart(3, "0")}.txt`), `file ${i}\n`);
  await writeFile(join(folder, "many/deep/ü #?.txt"), "deep\n");
  const large = await open(join(folder, "large.bin"), "w");
  await large.truncate(66 * MIB);
  await large.close();
});

after(async () => {
  await browser.close();
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  mock = await startMock();
  data = mock.box.data;
  page = await browser.tab();
  await page.goto(`${mock.url}/sign-in`);
  await page.getByLabel("Access key").fill("gdk_mock");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForSelector("nav.nav");
  await page.goto(mock.url + DRAFT);
  await page.locator("upload-panel .drop").waitFor();
});

afterEach(async () => {
  // The browser's own line about a refusal that the mock was told to give is no fault.
  assert.deepEqual(page.complaints.filter((complaint) => !/\b(503|507)\b|ERR_/.test(complaint)), []);
  await page.close({ runBeforeUnload: false });
  await mock.close();
});

const button = (name) => page.getByRole("button", { name });
const state = (text) => page.locator(".upload-progress").getByText(text).first();

/** Drops real files and folders, as the system does. */
async function drop(...names) {
  const zone = await page.locator("upload-panel .drop").boundingBox();
  const session = await page.context().newCDPSession(page);
  const event = { x: zone.x + zone.width / 2, y: zone.y + 20, data: { items: [], files: names.map((name) => join(folder, name)), dragOperationsMask: 1 } };
  for (const type of ["dragEnter", "dragOver", "drop"]) await session.send("Input.dispatchDragEvent", { type, ...event });
}

test("a folder is dropped with everything in it, and dropped again only what is missing is sent", async () => {
  await drop("many");
  await state("251 files were uploaded").waitFor();
  assert.ok(data.version("dsdigits", "v4ddddd").files.has("many/deep/ü #?.txt"));
  await page.locator("file-tree .tree-row", { hasText: "many" }).waitFor();
  await picture(page, "upload-done");
  data.uploads.length = 0;
  data.removeFile(data.version("dsdigits", "v4ddddd"), "many/007.txt");
  await drop("many");
  await state("1 file was uploaded, 250 skipped as already there").waitFor();
  assert.deepEqual(data.uploads, ["PUT many/007.txt"]);
});

test("files are chosen into a folder", async () => {
  await page.getByLabel("Folder to put them into").fill("/notes/");
  await page.getByLabel("Choose files").setInputFiles([join(folder, "many/001.txt"), join(folder, "many/002.txt")]);
  await state("2 files were uploaded").waitFor();
  assert.deepEqual(data.uploads.toSorted(), ["PUT notes/001.txt", "PUT notes/002.txt"]);
});

test("what passes by itself is tried again, what is refused is listed and can be retried", async () => {
  let broken = 2;
  data.refuseUpload = (_, path) => (path.endsWith("003.txt") && broken-- > 0 ? 503 : path.endsWith("005.txt") ? 422 : null);
  await drop("many");
  await state("250 files were uploaded, 1 failed").waitFor();
  await page.getByRole("list", { name: "Failed" }).getByText("many/005.txt could not be written.").waitFor();
  await picture(page, "upload-failed");
  data.refuseUpload = () => null;
  await button("Retry 1 failed file").click();
  await state("251 files were uploaded").waitFor();
});

test("a used-up quota stops all of it with what to do, and it goes on where it was", async () => {
  data.refuseUpload = () => (data.uploads.length >= 20 ? 507 : null);
  await drop("many");
  await page.getByText("Delete versions or artifacts that nobody needs.").first().waitFor();
  await state("Paused").waitFor();
  assert.ok(data.uploads.length < 40);
  await picture(page, "upload-quota");
  data.refuseUpload = () => null;
  await button("Resume").click();
  await state("251 files were uploaded").waitFor();
  assert.equal(new Set(data.uploads).size, 251);
});

test("it can be paused, goes on when another page is shown, and few requests run at once", async () => {
  let [running, most] = [0, 0];
  page.on("request", (request) => request.method() === "PUT" && (most = Math.max(most, (running += 1))));
  const ended = (request) => request.method() === "PUT" && (running -= 1);
  page.on("requestfinished", ended);
  page.on("requestfailed", ended);
  data.uploadDelayMillis = 40;
  await drop("many");
  await state("Uploading").waitFor();
  await picture(page, "upload-running");
  await button("Pause").click();
  await state("Paused").waitFor();
  await page.waitForFunction(() => !document.querySelector('[aria-label="Being sent"]'));
  const before = data.uploads.length;
  assert.ok(before < 251);
  await button("Resume").click();
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await page.locator("job-table tr.linked").first().waitFor();
  data.uploadDelayMillis = 0;
  await page.goBack();
  await state("251 files were uploaded").waitFor();
  assert.ok(most <= 6, `${most} at once`);
});

test("a large file goes in parts, warns before it is left, and goes on after a reload", async () => {
  data.partBytes = 16 * MIB;
  data.refuseUpload = (kind, path) => (kind === "PART" && path.endsWith("#3") ? 422 : null);
  await page.getByLabel("Choose files").setInputFiles(join(folder, "large.bin"));
  await page.getByRole("list", { name: "Failed" }).getByText("Part 3 could not be written.").waitFor();
  assert.deepEqual(data.uploads, ["PART large.bin#1", "PART large.bin#2"]);
  await page.reload();
  await page.getByText("Unfinished uploads").waitFor();
  await page.getByText("32 MiB are there").waitFor();
  await picture(page, "upload-unfinished");
  data.refuseUpload = () => null;
  await page.getByLabel("Choose files").setInputFiles(join(folder, "large.bin"));
  await state("1 file was uploaded").waitFor();
  assert.deepEqual(data.uploads, [1, 2, 3, 4, 5].map((number) => `PART large.bin#${number}`));
  assert.equal(data.version("dsdigits", "v4ddddd").files.get("large.bin").bytes, 66 * MIB);
  await page.getByText("Unfinished uploads").waitFor({ state: "detached" });
});

test("parts of a file that has changed since are not mixed with the new ones", async () => {
  data.partBytes = 16 * MIB;
  data.refuseUpload = (kind, path) => (kind === "PART" && path.endsWith("#2") ? 422 : null);
  await page.getByLabel("Choose files").setInputFiles(join(folder, "large.bin"));
  await page.getByRole("list", { name: "Failed" }).waitFor();
  await page.reload();
  await page.getByText("Unfinished uploads").waitFor();
  await page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("upload.")).forEach((key) => localStorage.setItem(key, "69206016/1")));
  data.refuseUpload = () => null;
  data.uploads.length = 0;
  await page.getByLabel("Choose files").setInputFiles(join(folder, "large.bin"));
  await state("1 file was uploaded").waitFor();
  assert.equal(data.uploads.length, 5, "all parts were sent anew");
  await button("Discard what there is of large.bin").click();
  await page.getByText("Unfinished uploads").waitFor({ state: "detached" });
  assert.equal(data.multipart.size, 0);
});

test("leaving the tab while files are on their way asks first", async () => {
  data.uploadDelayMillis = 60;
  await drop("many");
  await state("Uploading").waitFor();
  const asked = new Promise((resolve) => page.once("dialog", (question) => question.dismiss().then(() => resolve(question.type()))));
  await page.close({ runBeforeUnload: true });
  assert.equal(await asked, "beforeunload");
  await button("Cancel").click();
  await page.locator(".upload-progress").waitFor({ state: "detached" });
});
