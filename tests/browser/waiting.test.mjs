// Who waits for whom, on invented data: wherever it is told, jobs, notebooks and TensorBoards are what they are.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { picture } from "./browser.mjs";
import { mock, page } from "./mock-tab.mjs";

afterEach(() => assert.deepEqual(page.complaints.splice(0), []));

const section = (title) => page.locator("section.section", { has: page.getByRole("heading", { name: title, exact: true }) });
const hrefs = (links) => links.evaluateAll((all) => all.map((link) => link.getAttribute("href")));

test("the overview names what runs and waits as what it is, and leads to it and to the lists of each kind", async () => {
  const running = section("Running");
  await running.getByRole("link", { name: "resnet-sweep" }).waitFor();
  assert.deepEqual(await hrefs(running.locator(".work-list a.row-link")), ["/jobs/js8", "/jobs/js7", "/notebooks/n4kq0z81", "/notebooks/nsoon000", "/notebooks/nstart00", "/tensorboards/tb4kq0z81xwp", "/tensorboards/tbstarting00"]);
  assert.match(await running.locator("li", { hasText: "resnet-sweep" }).innerText(), /TensorBoard · ada[\s\S]*stops in \d+ min if unused/);
  assert.deepEqual(await hrefs(running.locator("nav a")), ["/jobs?state=provisioned,running", "/notebooks?live=true", "/tensorboards?live=true"]);
  const waiting = section("Queue");
  assert.deepEqual(await hrefs(waiting.locator(".work-list a.row-link")), ["/jobs/js9", "/notebooks/nqueued0", "/tensorboards/tbqueued0000"]);
  assert.deepEqual(await hrefs(waiting.locator("li").first().locator(".held-by a")), ["/jobs/js8", "/jobs/js7", "/notebooks/n4kq0z81"]);
  await picture(page, "waiting-overview", { fullPage: true });
});

for (const [path, place, when] of [
  ["/jobs/js9", "Number 1 in the queue", /Starts in 3 h, if everything runs to its time limit\./],
  ["/notebooks/nqueued0", "Number 2 in the queue", /Starts in 7 h, or in 3 h if nobody uses what can stop by itself\./],
  ["/tensorboards/tbqueued0000", "Number 3 in the queue", /Starts in 2\d min if nobody uses what can stop by itself\./],
]) {
  test(`${path} says why it waits, with the way to who holds what it needs`, async () => {
    await page.goto(mock.url + path);
    const note = page.locator(".note", { hasText: place });
    await note.getByRole("link", { name: "train-digits" }).waitFor();
    assert.match(await note.innerText(), when);
    await picture(page, `waiting-${path.split("/")[1]}`);
    await note.getByRole("link", { name: "train-digits" }).click();
    await page.waitForURL("**/notebooks/n4kq0z81");
  });
}

test("who of another team holds something is named and leads nowhere", async () => {
  mock.box.job("js7").own = false;
  await page.goto(`${mock.url}/jobs/js9`);
  const held = page.locator(".note .held-by");
  await held.getByRole("link", { name: "resnet50-baseline" }).waitFor();
  assert.match(await held.innerText(), /train-whisper \(grace/);
  assert.equal(await held.getByRole("link", { name: "train-whisper" }).count(), 0);
});

test("a TensorBoard is one box of a lineage, and one that is gone leads nowhere", async () => {
  await page.goto(`${mock.url}/datasets/dsdigits`);
  const graph = page.locator("lineage-graph");
  await graph.getByRole("link", { name: "TensorBoard resnet-sweep, TensorBoard" }).waitFor();
  assert.equal(await graph.getByRole("img", { name: "TensorBoard warm-up, TensorBoard, deleted" }).count(), 1);
  await graph.scrollIntoViewIfNeeded();
  await picture(page, "waiting-lineage");
  await page.goto(`${mock.url}/datasets/dsdigits/versions/v2bbbbb/about`);
  const read = page.locator("version-about dd", { hasText: "train-whisper" });
  await read.getByRole("link", { name: "resnet-sweep" }).waitFor();
  assert.equal(await read.getByRole("link", { name: "warm-up" }).count(), 0);
  await picture(page, "waiting-version");
});
