// What a person does with datasets and storage in the browser, on invented data.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { openBrowser, picture } from "./browser.mjs";
import { startMock } from "./mock.mjs";

let mock, browser, page;

before(async () => (browser = await openBrowser()));
after(() => browser.close());

beforeEach(async () => {
  mock = await startMock();
  page = await browser.tab();
  await page.goto(`${mock.url}/sign-in`);
  await page.getByLabel("Access key").fill("gdk_mock");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForSelector("nav.nav");
});

afterEach(async () => {
  assert.deepEqual(page.complaints, [], "the browser complained");
  await page.close();
  await mock.close();
});

const button = (name) => page.getByRole("button", { name, exact: true });
const dialog = () => page.getByRole("dialog");
const row = (name) => page.locator("file-tree .tree-row", { hasText: name });
const visit = async (path) => {
  await page.goto(mock.url + path);
  await page.locator("main h1").first().waitFor();
};

test("a dataset is made, and a name that is refused is told where it was typed", async () => {
  await visit("/datasets");
  await button("New dataset").click();
  await dialog().getByLabel("Name", { exact: true }).fill("two words");
  await dialog().getByRole("button", { name: "Create" }).click();
  await dialog().getByText("A dataset's name holds").waitFor();
  assert.equal(await dialog().getByLabel("Name", { exact: true }).getAttribute("aria-invalid"), "true");
  assert.ok(await dialog().getByLabel("Name", { exact: true }).evaluate((input) => input === document.activeElement));
  await picture(page, "data-create");
  await dialog().getByLabel("Name", { exact: true }).fill("two-words");
  await dialog().getByLabel("Description").fill("Made in a test");
  await dialog().getByLabel("Stored on").selectOption({ label: "lab-bucket (S3)" });
  await dialog().getByRole("button", { name: "Create" }).click();
  await page.getByRole("heading", { name: "two-words" }).waitFor();
  await page.getByText("Made in a test").waitFor();
  assert.equal(mock.box.data.dataset("two-words").storageProvider.name, "lab-bucket");
});

test("the search is in the address and survives a reload", async () => {
  await visit("/datasets");
  await page.getByText("million-images").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("digi");
  await page.waitForURL(/q=digi/);
  await page.getByText("million-images").waitFor({ state: "detached" });
  await page.reload();
  await page.getByRole("link", { name: "digits" }).waitFor();
  assert.equal(await page.getByLabel("Search datasets").inputValue(), "digi");
});

test("a tag is set, moved and removed", async () => {
  await visit("/datasets/dsdigits");
  await button("Tag v1aaaaa").click();
  await dialog().getByLabel("Tag").fill("paper");
  await dialog().getByRole("button", { name: "Set the tag" }).click();
  await page.getByText("paper was moved to v1aaaaa.").waitFor();
  const first = page.locator(".version-list li", { hasText: "As published" });
  await first.getByText("paper", { exact: true }).waitFor();
  assert.deepEqual(mock.box.data.version("dsdigits", "v2bbbbb").facts.tags, ["stable"]);
  await first.getByRole("button", { name: "Remove the tag paper" }).click();
  await first.getByText("paper", { exact: true }).waitFor({ state: "detached" });
});

test("deleting what is in use names the users and asks again", async () => {
  await visit("/datasets/dsdigits");
  await button("Delete v2bbbbb").click();
  await dialog().getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "Version v2bbbbb is still in use" }).waitFor();
  await dialog().getByText("resnet50-baseline and train-whisper").waitFor();
  await picture(page, "data-in-use");
  await dialog().getByRole("button", { name: "Keep" }).click();
  assert.ok(mock.box.data.version("dsdigits", "v2bbbbb"));
  await button("Delete v2bbbbb").click();
  await dialog().getByRole("button", { name: "Delete" }).click();
  await dialog().getByRole("button", { name: "Delete anyway" }).click();
  await page.getByText("Version v2bbbbb was deleted.").waitFor();
  assert.equal(mock.box.data.version("dsdigits", "v2bbbbb"), undefined);
});

test("the lineage leads to versions and jobs without loading the page anew", async () => {
  await visit("/datasets/dsdigits");
  await page.evaluate(() => (window.sameDocument = true));
  const job = page.locator("lineage-graph").getByRole("link", { name: /job train-whisper/ });
  await job.focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/jobs\/js7$/);
  await page.goBack();
  await page.locator("lineage-graph").getByRole("link", { name: /version v1aaaaa/ }).click();
  await page.waitForURL(/versions\/v1aaaaa$/);
  assert.ok(await page.evaluate(() => window.sameDocument));
});

test("edges that would close a circle are left out and every box has its own place", async () => {
  await visit("/datasets");
  const { nodes, edges } = await page.evaluate(async () => {
    const { layOut } = await import("/components/lineage-layout.js");
    const node = (id) => ({ id, kind: "version", label: id });
    return layOut(["a", "b", "c", "d"].map(node), [["a", "b"], ["b", "c"], ["c", "a"], ["a", "c"], ["d", "d"], ["a", "gone"]].map(([from, to]) => ({ from, to })));
  });
  assert.deepEqual(edges.map(({ from, to }) => from + to), ["ab", "bc", "ac"]);
  assert.deepEqual(nodes.map(({ id, layer }) => [id, layer]).sort(), [["a", 0], ["b", 1], ["c", 2], ["d", 0]]);
  assert.equal(new Set(nodes.map(({ x, y }) => `${x},${y}`)).size, 4);
});

// ── Files ──────────────────────────────────────────────────────────────────────────────────────────

test("a directory of a million files is walked by pages with few rows drawn", async () => {
  await visit("/datasets/dsimages/versions/vmillio");
  await row("train").click();
  await row("img_0000003.png").waitFor();
  await page.locator("file-tree").evaluate((tree) => (tree.scrollTop = tree.scrollHeight));
  await row("img_0000510.png").waitFor();
  assert.ok((await page.locator("file-tree .tree-row").count()) < 80);
  await page.keyboard.press("/");
  await page.keyboard.type("train/img_09999");
  await row("train/img_0999900.png").waitFor();
  await row("train/img_0999901.png").click();
  await page.locator("file-details").getByText("train/img_0999901.png").waitFor();
  await picture(page, "data-million");
});

test("the tree is walked by keyboard and the address names the file", async () => {
  await visit("/datasets/dsdigits/versions/v2bbbbb");
  await row("images").waitFor();
  const tree = page.getByRole("tree", { name: "Files" });
  await tree.focus();
  for (let i = 0; i < 5; i += 1) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowRight");
  await row("000.png").waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL(/path=images%2F001.png/);
  const active = await tree.evaluate((element) => document.getElementById(element.getAttribute("aria-activedescendant")).textContent);
  assert.match(active, /001\.png/);
  await page.waitForFunction(() => document.querySelector(".preview-image img")?.naturalWidth === 56);
  await page.reload();
  await page.locator('file-tree [aria-selected="true"]').filter({ hasText: "001.png" }).waitFor();
  await tree.focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("End");
  assert.match(await tree.evaluate((element) => document.getElementById(element.getAttribute("aria-activedescendant")).textContent), /weights\.bin/);
});

test("heads are shown as what they are, and markup in them stays text", async () => {
  const open = async (path, version = "v1aaaaa", dataset = "dsdigits") => visit(`/datasets/${dataset}/versions/${version}?path=${encodeURIComponent(path)}`);
  await open("README.md");
  await page.locator(".preview-markdown").getByText("<script>alert(1)</script>").waitFor();
  assert.equal(await page.locator(".preview-markdown script").count(), 0);
  await open("labels.csv");
  await page.locator(".preview-table").getByText("writer, no. 3").first().waitFor();
  assert.deepEqual(await page.locator(".preview-table th").allTextContents(), ["path", "label", "writer"]);
  await page.getByText("120 rows").waitFor();
  await open("annotations.jsonl");
  await page.locator(".preview-table").getByText("[1,2,3,7]").waitFor();
  await open("long.log");
  await page.getByText("The first 64 KiB of").waitFor();
  await open("weights.bin");
  await page.getByText("Not text").waitFor();
  await open("empty.txt");
  await page.getByText("An empty file").waitFor();
  await open("folder with spaces/ä #1?.txt");
  await page.getByText("a name that must be encoded").waitFor();
  await open("nothing.txt");
  await page.getByText("There is no such file here").waitFor();
});

for (const name of ["labels.parquet", "labels-zstd.parquet"]) {
  test(`the first rows of a Parquet file are a table: ${name}`, async () => {
    await visit(`/datasets/dsimages/versions/vmillio?path=${name}`);
    await page.locator(".preview-table").getByText("digit 7").first().waitFor();
    assert.deepEqual(await page.locator(".preview-table th").allTextContents(), ["id", "label", "score", "tags", "seen"]);
    await page.getByText("The first 50 rows of 120").waitFor();
    await page.locator(".preview-table").getByText('["a","3"]').waitFor();
    await page.locator(".preview-table").getByText("2026-01-01T02:00:00.000Z").waitFor();
  });
}

test("what somebody else puts into a draft appears by itself", async () => {
  await visit("/datasets/dsdigits/versions/v4ddddd");
  await row("labels.csv").waitFor();
  const draft = mock.box.data.version("dsdigits", "v4ddddd");
  mock.box.data.put(draft, "from-elsewhere.txt", 12);
  mock.box.emit("version", draft.facts.reference, "changed");
  await row("from-elsewhere.txt").waitFor();
});

test("a picture that is none is told", async () => {
  mock.box.data.put(mock.box.data.version("dsdigits", "v1aaaaa"), "broken.png", Buffer.from("no picture"));
  await visit("/datasets/dsdigits/versions/v1aaaaa?path=broken.png");
  await page.getByText("It cannot be drawn").waitFor();
});

test("a signed link is put on the clipboard", async () => {
  await visit("/datasets/dsdigits/versions/v2bbbbb?path=labels.csv");
  await button("Copy a signed link").click();
  await button("Copied").waitFor();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^http:\/\/127\.0\.0\.1:\d+\/api\/v1\/signed\/dsdigits\/v2bbbbb\/labels\.csv\?.*signature=/);
});

test("two versions are compared by path with their totals", async () => {
  await visit("/datasets/dsdigits");
  await page.getByRole("link", { name: "What changed" }).click();
  await page.getByText("+1 added").waitFor();
  await page.getByText("−3 removed").waitFor();
  await page.locator("version-diff tr", { hasText: "CHANGES.md" }).getByText("added").waitFor({ state: "attached" });
  const long = mock.box.data.version("dsdigits", "v1aaaaa");
  for (let i = 0; i < 450; i += 1) mock.box.data.put(long, `old/${String(i).padStart(4, "0")}`, 10);
  await page.reload();
  await page.getByText("−453 removed").waitFor();
  assert.equal(await page.locator("version-diff tbody tr").count(), 200);
  await button("Show more").click();
  await page.waitForFunction(() => document.querySelectorAll("version-diff tbody tr").length === 400);
});

test("a draft is committed after its meaning was told", async () => {
  await visit("/datasets/dsdigits/versions/v4ddddd");
  await button("Commit").click();
  await dialog().getByText("fixed for ever").waitFor();
  await picture(page, "data-commit");
  await dialog().getByRole("button", { name: "Commit" }).click();
  await page.locator("main .job-title").getByText("latest").waitFor();
  await page.locator("upload-panel").waitFor({ state: "detached" });
  assert.equal(mock.box.data.version("dsdigits", "latest").facts.version, "v4ddddd");
});

test("message and metadata are edited, and a line without a name is told", async () => {
  await visit("/datasets/dsdigits/versions/v2bbbbb");
  await button("Edit").click();
  await dialog().getByLabel("Metadata").fill("licence: MIT\nno name here");
  await dialog().getByRole("button", { name: "Save" }).click();
  await dialog().getByText("has no name").waitFor();
  await dialog().getByLabel("Metadata").fill("licence: MIT\nsource: https://example.org/a");
  await dialog().getByLabel("Message").fill("Better words");
  await dialog().getByRole("button", { name: "Save" }).click();
  await page.locator("main .described").getByText("Better words").waitFor();
  assert.deepEqual(mock.box.data.version("dsdigits", "v2bbbbb").facts.metadata, { licence: "MIT", source: "https://example.org/a" });
});

// ── Storage and jobs ───────────────────────────────────────────────────────────────────────────────

test("an import tells its progress by the stream, and can be cancelled", async () => {
  await visit("/datasets/dsdigits/versions/v4ddddd");
  await button("Import").click();
  await dialog().getByLabel("Address", { exact: true }).fill("http://127.0.0.1/x");
  await dialog().getByRole("button", { name: "Begin" }).click();
  await dialog().getByText("does not fetch from its own addresses").waitFor();
  await dialog().getByLabel("Address", { exact: true }).fill("https://example.org/a.tar");
  await dialog().getByLabel("Into the folder").fill("more");
  await picture(page, "data-import");
  await dialog().getByRole("button", { name: "Begin" }).click();
  await page.getByText("0 of 12 files").waitFor();
  mock.box.data.advanceImports(5);
  await page.getByText("5 of 12 files").waitFor();
  mock.box.data.advanceImports(12);
  await row("more").waitFor();
  await button("Import").click();
  await dialog().getByText("S3 bucket").click();
  await dialog().getByLabel("Keys that begin with").fill("crawl/");
  await dialog().getByRole("button", { name: "Begin" }).click();
  await button("Cancel the import of s3://research-data/crawl/").click();
  await page.locator("import-list").getByText("cancelled").waitFor();
});

test("a bucket is checked when it is added, and one in use is not deleted", async () => {
  await visit("/storage");
  await button("Add a bucket").click();
  await dialog().getByLabel("Name", { exact: true }).fill("second");
  await dialog().getByLabel("Bucket", { exact: true }).fill("missing");
  await dialog().getByLabel("Access key id").fill("AKIA");
  await dialog().getByLabel("Secret access key").fill("hunter2-and-more");
  await dialog().getByRole("button", { name: "Check and add" }).click();
  await dialog().getByText("does not exist at this endpoint").waitFor();
  assert.equal(await dialog().getByLabel("Bucket", { exact: true }).getAttribute("aria-invalid"), "true");
  await picture(page, "data-provider");
  await dialog().getByLabel("Bucket", { exact: true }).fill("there");
  await dialog().getByRole("button", { name: "Check and add" }).click();
  await page.locator("storage-providers td").getByText("second").waitFor();
  assert.ok(!(await page.content()).includes("hunter2-and-more"));
  await button("Delete lab-bucket").click();
  await dialog().getByRole("button", { name: "Delete" }).click();
  await page.getByText("The dataset corpus lies on it").waitFor();
});

test("cleaning up shows what it would free before it does", async () => {
  await visit("/storage");
  await button("See what it would free").click();
  await page.locator("storage-cleaning").getByText("vtrial1").waitFor();
  await page.locator("storage-cleaning").getByText("In buckets, 1,210 objects").waitFor();
  assert.equal(mock.box.data.garbage.length, 2, "looking frees nothing");
  await picture(page, "data-cleaning", { fullPage: true });
  await page.getByRole("button", { name: /^Free .* now$/ }).click();
  await page.getByText("were freed").waitFor();
  assert.equal(mock.box.data.garbage.length, 0);
  await button("See what it would free").click();
  await page.getByText("There is nothing to free.").waitFor();
});

test("a check of the disk is begun, shows its progress and its end", async () => {
  await visit("/storage");
  await page.locator("storage-integrity").getByText("val/n1440764/0.jpeg").waitFor();
  await page.getByText("3 files whole again in 2 versions").click();
  await page.locator("storage-integrity").getByRole("link", { name: "digits:v1aaaaa" }).waitFor();
  await picture(page, "data-mended", { fullPage: true });
  await button("Check now").click();
  await page.getByText("Checking, 600,000 files so far").waitFor();
  await page.getByText("All that was read is sound").waitFor();
  await page.getByText("2 files whole again in 1 version").waitFor();
});

test("a job names its inputs and outputs in the form", async () => {
  await visit("/datasets/dsdigits");
  await page.getByRole("link", { name: "New job with it" }).click();
  await page.getByLabel("Image").fill("busybox");
  await button("Add an input").click();
  await page.getByLabel("Dataset of input 2").fill("corpus:2026-03");
  assert.equal(await page.getByLabel("Name of input 2").inputValue(), "corpus", "the name follows the dataset");
  await page.getByLabel("Name of input 2").fill("text");
  await button("Add an output").click();
  await page.getByLabel("Dataset of output 1").fill("digits");
  await page.locator(".pick").first().waitFor();
  await button("Start the job").click();
  await page.waitForURL(/\/jobs\/jsnew/);
  const { spec } = mock.box.jobs[0];
  assert.deepEqual(spec.datasets, [{ ref: "digits", name: "digits" }, { ref: "corpus:2026-03", name: "text" }]);
  assert.deepEqual(spec.outputs, [{ ref: "digits", name: "digits" }]);
});

test("every control has a name", async () => {
  for (const place of ["/datasets", "/datasets/dsdigits", "/datasets/dsempty", "/datasets/dsdigits/versions/v4ddddd", "/datasets/dsdigits/versions/v2bbbbb?path=labels.csv", "/datasets/dsdigits/versions/v2bbbbb/changes", "/storage", "/jobs/new?dataset=digits"]) {
    await visit(place);
    await page.locator(".skeleton").first().waitFor({ state: "detached" });
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll("button, a[href], input, select, textarea")]
        .filter((control) => control.checkVisibility() && !control.ariaLabel && !control.textContent.trim() && !control.labels?.length && !control.title)
        .map((control) => control.outerHTML),
    );
    assert.deepEqual(nameless, [], place);
  }
});
