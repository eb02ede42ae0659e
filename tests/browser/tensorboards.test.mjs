// TensorBoards on invented data: what a person asks for reaches the API, and what the box tells is seen.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { mock, page } from "./mock-tab.mjs";

afterEach(() => assert.deepEqual(page.complaints.splice(0), []));

const button = (name) => page.getByRole("button", { name, exact: true });
const dialog = () => page.getByRole("dialog");
const chip = (word) => page.locator("main .job-title state-chip", { hasText: word });
const row = (name) => page.locator(`tr[data-member="${name}"]`);
const boards = () => mock.box.boards.all;
/** What was asked for as members, without what the box found out. */
const shown = (board) => board.members.map(({ name, kind, id, path, version }) => [name, kind, id, path ?? version].filter((part) => part !== null));

/** Does what opens a tab, waits until that shows the TensorBoard, and closes it. */
async function opens(board, act) {
  const [tab] = await Promise.all([page.context().waitForEvent("page"), act()]);
  await tab.waitForURL(`**/w/${board()}/?gradientd-ticket=gdt_mock`);
  assert.equal(await tab.evaluate(() => window.opener), null, "what is opened cannot reach this page");
  await tab.close();
}

test("a form that is refused says so at the member that is wrong, opens nothing, and what is typed stays", async () => {
  await page.goto(`${mock.url}/tensorboards`);
  await page.getByRole("link", { name: "New TensorBoard" }).click();
  await button("Add digits-sgd (js4)").click();
  await page.getByLabel("Search what to add").fill("whisper");
  await button("Add train-whisper (js7)").click();
  await button("Notebooks").click();
  await page.getByLabel("Search what to add").fill("train");
  await button("Add train-digits (n4kq0z81)").click();
  await page.getByLabel("Folder of member 3").fill("../elsewhere");
  await page.getByLabel("Name", { exact: true }).fill("side by side");
  const before = boards().length;
  const tabs = page.context().pages().length;
  await button("Make and open").click();
  await page.locator(".member-row", { hasText: "train-digits" }).getByText("leads out of it").waitFor();
  assert.equal(await page.getByLabel("Folder of member 3").getAttribute("aria-invalid"), "true");
  assert.equal(await page.locator(".member-row .wrong").count(), 1);
  assert.equal(boards().length, before);
  await page.getByLabel("Folder of member 3").fill("/runs/");
  await page.getByLabel("Name of member 1 in there").fill("a/b");
  await button("Only make it").click();
  await page.locator(".member-row", { hasText: "digits-sgd" }).getByText("it is the name of one directory").waitFor();
  assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), "side by side");
  assert.equal(page.context().pages().length, tabs, "the tab of the refused one is closed");
});

test("a wrong image is told where it is folded away", async () => {
  await page.getByLabel("Name of member 1 in there").fill("sgd");
  await page.getByText("More: image, registry, machine").click();
  await page.getByLabel("Image").fill("no image");
  await page.getByText("More: image, registry, machine").click();
  await button("Make and open").click();
  await page.locator(".field:has(#image) .wrong").getByText("names no image").waitFor();
  await page.getByLabel("Image").fill("ghost/tensorboard:1");
});

test("everything of the form reaches the TensorBoard, and it is opened", async () => {
  await button("Datasets").click();
  await page.getByLabel("Search what to add").fill("");
  await button("Add digits (dsdigits)").click();
  assert.equal(await page.getByLabel("Version of member 4").inputValue(), "digits:latest");
  await page.locator("#member-versions-3 option[value='digits:stable']").waitFor({ state: "attached" });
  await page.getByLabel("Version of member 4").fill("digits:stable");
  await button("Experiments").click();
  await button("Add finetune (ex1)").click();
  await button("Remove train-whisper").click();
  await page.getByLabel("Registry user name").fill("ada");
  await page.getByLabel("Registry password").fill("hunter2");
  await page.getByLabel("Project").last().fill("vision");
  await page.getByLabel("When nobody looks at it").selectOption({ label: "Never" });
  await page.getByLabel("As usual: the smallest one").uncheck();
  await page.locator(".pick", { hasText: "cpu-large" }).click();
  await opens(() => boards()[0].id, () => button("Make and open").click());
  await page.getByRole("heading", { name: "side by side" }).waitFor();
  const [board] = boards();
  assert.deepEqual(shown(board), [["sgd", "job", "js4"], ["train-digits", "notebook", "n4kq0z81", "runs"], ["digits", "dataset", "dsdigits", "v2bbbbb"], ["finetune", "experiment", "ex1"]]);
  const { name, project, image, registryUsername, registryPassword, machineType, idleSeconds } = board;
  assert.deepEqual({ name, project: project.name, image, registryUsername, registryPassword, machineType, idleSeconds }, { name: "side by side", project: "vision", image: "ghost/tensorboard:1", registryUsername: "ada", registryPassword: null, machineType: "cpu-large", idleSeconds: null });
  assert.equal(mock.box.boards.passwords.get(board.id), "hunter2");
});

test("its page follows what becomes of it", async () => {
  const { id } = boards()[0];
  await chip("starting").waitFor();
  await page.getByText("Its time begins when it runs").waitFor();
  mock.box.boards.answer(id);
  await chip("running").waitFor();
  await page.getByText("It runs until somebody stops it").waitFor();
  await button("Stop").click();
  await chip("stopped").waitFor();
  await opens(() => id, () => button("Start and open").click());
  await chip("starting").waitFor();
});

test("only what was changed in the settings is sent, and what was emptied is the box's again", async () => {
  const { id } = boards()[0];
  const asked = [];
  await page.route(`**/api/v1/tensorboards/${id}`, (route) => {
    if (route.request().method() === "PATCH") asked.push(route.request().postDataJSON());
    return route.continue();
  });
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByLabel("Image").fill("no image");
  await button("Save").click();
  await page.locator(".field:has(#image) .wrong").getByText("names no image").waitFor();
  await page.getByLabel("Image").fill("ghost/tensorboard:2");
  await page.getByLabel("Registry password").fill("secret:REGISTRY");
  await button("Save").click();
  await page.locator("toast-list").getByText("Saved.").waitFor();
  assert.deepEqual(asked.at(-1), { image: "ghost/tensorboard:2", registryPassword: "secret:REGISTRY" });
  await page.getByLabel("Image").fill("");
  await page.getByLabel("Registry user name").fill("");
  await page.getByLabel("Registry password").fill("");
  await page.getByLabel("As usual: the smallest one").check();
  await page.getByLabel("When nobody looks at it").selectOption({ label: "After 1 h" });
  await button("Save").click();
  await page.waitForFunction(() => document.querySelector("toast-list").textContent.split("Saved.").length > 2);
  assert.deepEqual(asked.at(-1), { image: null, registryUsername: null, machineType: null, idleSeconds: 3600 });
  await page.unroute(`**/api/v1/tensorboards/${id}`);
});

test("it says when it stops, who looked, and what is left out and why", async () => {
  await page.goto(`${mock.url}/tensorboards/tb4kq0z81xwp`);
  await page.getByText("if nobody looks at it").waitFor();
  await page.getByText("somebody looked at it").waitFor();
  await row("warm-up").getByText("Job jsgone000001 was deleted").waitFor();
  assert.equal(await row("warm-up").getByRole("link").count(), 0, "what is gone has no page");
  const chips = Object.fromEntries(await page.locator("tr[data-member]").evaluateAll((rows) => rows.map((one) => [one.dataset.member, one.querySelector("state-chip")?.textContent ?? null])));
  assert.deepEqual(chips, { resnet50: "running", baseline: "running", "train-digits": null, digits: null, "warm-up": null, "digits-sweep": "created" });
  await row("digits-sweep").getByText("has no runs yet").waitFor();
  assert.equal(await row("train-digits").getByRole("link").getAttribute("href"), "/notebooks/n4kq0z81?path=runs%2Flr-0.1");
  assert.equal(await row("digits").getByRole("link").getAttribute("href"), "/datasets/dsdigits/versions/v2bbbbb");
});

test("members are added and removed while it runs, and one that it has already is refused in words", async () => {
  await row("warm-up").getByRole("button", { name: "Remove warm-up" }).click();
  await row("warm-up").waitFor({ state: "detached" });
  await page.getByText("The page of TensorBoard is back within seconds").first().waitFor();
  await button("Add").click();
  await dialog().getByRole("button", { name: "Add", exact: true }).last().click();
  await dialog().getByText("Choose at least one").waitFor();
  await dialog().getByRole("button", { name: "Add resnet50-baseline (js8)" }).click();
  await dialog().getByRole("button", { name: "Add", exact: true }).last().click();
  await dialog().getByText("is a member already, as “baseline”").waitFor();
  await dialog().getByRole("button", { name: "Remove resnet50-baseline" }).click();
  await dialog().getByRole("button", { name: "Add finetune-llama (js5)" }).click();
  await dialog().getByLabel("Name of member 1 in there").fill("llama");
  await dialog().getByRole("button", { name: "Add", exact: true }).last().click();
  await row("llama").waitFor();
  assert.equal(await dialog().count(), 0);
});

test("a terminal is opened in one that runs, and in no other", async () => {
  await page.goto(`${mock.url}/tensorboards/tb4kq0z81xwp/terminal`);
  await page.locator("terminal-screen .xterm-rows").getByText("root@").first().waitFor();
  mock.box.terminals.open.clear();
  await page.goto(`${mock.url}/tensorboards/tbstopped000/terminal`);
  await page.getByText("Start it, then open a terminal").waitFor();
  await page.goto(`${mock.url}/tensorboards/tb4kq0z81xwp`);
});

test("a run that ends, and a member that goes away elsewhere, are seen so on the open page", async () => {
  mock.box.stop("js8");
  await row("baseline").locator("state-chip", { hasText: "cancelled" }).waitFor();
  const member = mock.box.boards.board("tb4kq0z81xwp").members.find(({ name }) => name === "llama");
  Object.assign(member, { gone: true, title: null });
  mock.box.drop("job", "js5");
  await row("llama").getByText("It was deleted").waitFor();
});

test("one whose machine type is gone says so, and takes the usual one when that is saved", async () => {
  const board = mock.box.boards.board("tb4kq0z81xwp");
  Object.assign(board, { machineType: null, problem: "there is no machine type “cray” on this box; there are: cpu-small" });
  await page.goto(`${mock.url}/tensorboards/tb4kq0z81xwp`);
  const note = page.locator(".note", { hasText: "cannot begin anew" });
  await note.getByText("There is no machine type “cray”").waitFor();
  await note.getByRole("link", { name: "Change its settings" }).click();
  assert.ok(await page.getByLabel("As usual: the smallest one").isChecked());
  await button("Save").click();
  await note.waitFor({ state: "detached" });
  assert.equal(board.machineType, "cpu-small");
});

test("one that failed says why, with the last lines that it printed", async () => {
  await page.goto(`${mock.url}/tensorboards/tbfailed0000`);
  await page.getByText("Its image has no TensorBoard in it (exit code 127)").waitFor();
  await page.getByRole("region", { name: "Last lines" }).getByText("exec: tensorboard: not found").waitFor();
  await page.getByRole("link", { name: "Read its log" }).click();
  await page.locator("log-view .line", { hasText: "not found" }).waitFor();
});

test("a TensorBoard is renamed, and deleted only when a person is sure", async () => {
  await button("Rename own-image").click();
  await page.getByLabel("Name", { exact: true }).fill("to go");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "to go" }).waitFor();
  await button("Delete").click();
  await page.getByRole("heading", { name: "Delete to go?" }).waitFor();
  await dialog().getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "TensorBoards", exact: true }).waitFor();
  assert.equal(await page.getByRole("link", { name: "to go" }).count(), 0);
});

test("the list is filtered by what the address says, opens any of them, and follows what happens elsewhere", async () => {
  await page.getByLabel("Only running").check();
  await page.locator("tr[data-tensorboard=tbstopped000]").waitFor({ state: "detached" });
  await page.locator("tr[data-tensorboard=tbqueued0000]").waitFor();
  mock.box.boards.stop("tb4kq0z81xwp");
  await page.locator("tr[data-tensorboard=tb4kq0z81xwp]").waitFor({ state: "detached" });
  await page.goto(`${mock.url}/tensorboards?member=js4`);
  await page.locator("tr[data-tensorboard=tbprepare000]").waitFor();
  assert.equal(await page.locator("tr[data-tensorboard=tbstopped000]").count(), 0);
  await button("Show also those without js4").click();
  await opens(() => "tbstopped000", () => button("Open digits").click());
  await page.locator("tr[data-tensorboard=tbstopped000] state-chip", { hasText: "starting" }).waitFor();
});

test("a job is shown in a new TensorBoard of its project with one press more, and that is opened", async () => {
  await page.goto(`${mock.url}/jobs/js9`);
  await button("TensorBoard").click();
  await opens(() => boards()[0].id, () => dialog().getByRole("button", { name: "Open" }).click());
  await page.locator("toast-list").getByRole("link", { name: "eval-large shows eval-large." }).waitFor();
  const [board] = boards();
  assert.deepEqual([board.name, board.project.name, shown(board)], ["eval-large", "vision", [["eval-large", "job", "js9"]]]);
});

test("one that shows it already is offered first, and opened as it is", async () => {
  const { id } = boards()[0];
  const before = boards().length;
  await button("TensorBoard").click();
  await dialog().getByRole("option", { name: "eval-large (shows it already)" }).waitFor({ state: "attached" });
  await opens(() => id, () => dialog().getByRole("button", { name: "Open" }).click());
  assert.deepEqual([boards().length, boards()[0].members.length], [before, 1]);
});

test("an experiment is added to one that there is", async () => {
  await page.goto(`${mock.url}/experiments/ex1`);
  await button("TensorBoard").click();
  await dialog().getByText("An existing one").click();
  await dialog().getByLabel("TensorBoard", { exact: true }).selectOption("tbempty00000");
  await opens(() => "tbempty00000", () => dialog().getByRole("button", { name: "Open" }).click());
  assert.deepEqual(shown(mock.box.boards.board("tbempty00000")), [["finetune", "experiment", "ex1"]]);
});

test("what a dialog asks for and is refused is said in it, and no tab is left behind", async () => {
  const tabs = page.context().pages().length;
  await page.route("**/api/v1/tensorboards", (route) => (route.request().method() === "POST" ? route.fulfill({ status: 404, contentType: "application/problem+json", body: JSON.stringify({ code: "experiment_not_found", detail: "there is no experiment ex1" }) }) : route.continue()));
  await page.reload();
  await button("TensorBoard").click();
  await dialog().getByText("A new one").click();
  await dialog().getByRole("button", { name: "Open" }).click();
  await dialog().getByText("there is no experiment ex1").waitFor();
  await page.waitForFunction(() => document.hasFocus());
  assert.equal(page.context().pages().length, tabs);
  await page.unroute("**/api/v1/tensorboards");
});

test("the folder of a notebook that is looked at is shown, and the team's own files are not offered", async () => {
  await page.goto(`${mock.url}/notebooks/n4kq0z81?path=data/raw`);
  await page.getByText("part-0.bin").waitFor();
  await button("TensorBoard").click();
  await dialog().getByText("also while the notebook writes").waitFor();
  await opens(() => boards()[0].id, () => dialog().getByRole("button", { name: "Open" }).click());
  const [{ members: [member] }] = boards();
  assert.deepEqual([member.kind, member.id, member.path], ["notebook", "n4kq0z81", "data/raw"]);
  await page.goto(`${mock.url}/storage/files`);
  await page.getByText("notes.txt").waitFor();
  assert.equal(await button("TensorBoard").count(), 0);
});

test("a committed version is shown by its own reference, and a draft cannot be", async () => {
  await page.goto(`${mock.url}/datasets/dsdigits/versions/v1aaaaa`);
  await button("TensorBoard").click();
  await dialog().getByText("A new one").click();
  await opens(() => boards()[0].id, () => dialog().getByRole("button", { name: "Open" }).click());
  assert.deepEqual(shown(boards()[0]).map((member) => member.slice(1)), [["dataset", "dsdigits", "v1aaaaa"]]);
  await page.goto(`${mock.url}/datasets/dsdigits/versions/v4ddddd`);
  await button("Commit").waitFor();
  assert.equal(await button("TensorBoard").count(), 0);
});

test("the keyboard leads to them", async () => {
  await page.goto(`${mock.url}/jobs`);
  await page.locator("job-table tr").first().waitFor();
  await page.keyboard.press("g");
  await page.keyboard.press("b");
  await page.getByRole("heading", { name: "TensorBoards", exact: true }).waitFor();
});

test("the form of a TensorBoard reads back what it wrote, and members are as the API takes them", async () => {
  const [spec, none, changes, problems] = await page.evaluate(async () => {
    const { changesOfBoard, draftOfBoard, emptyBoard, specOfBoard } = await import("/pages/tensorboard-draft.js");
    const { memberProblem } = await import("/components/tensorboard-words.js");
    const board = { name: "n", project: { name: "p" }, image: "i", machineType: "cpu-small", idleSeconds: null };
    const members = [{ kind: "job", id: "js1", name: " a " }, { kind: "notebook", id: "n1", path: "/x/y/", name: "" }, { kind: "notebook", id: "n2", path: "/" }, { kind: "dataset", id: "ds1", ref: "d:1", name: "b" }];
    const draft = draftOfBoard(board);
    return [
      specOfBoard({ ...draft, members }),
      [specOfBoard(emptyBoard()), changesOfBoard(board, draftOfBoard(board))],
      changesOfBoard(board, { ...draft, name: " m ", machineType: "", idle: "600" }),
      [{ field: "members[12].path" }, { field: "members[0]" }, { field: "members" }, { code: "name_taken" }, { field: "name", code: "bad_name" }, null].map(memberProblem),
    ];
  });
  assert.deepEqual(spec, { name: "n", project: "p", image: "i", machineType: "cpu-small", idleSeconds: null, members: [{ job: "js1", name: "a" }, { notebook: "n1", path: "x/y" }, { notebook: "n2" }, { dataset: "d:1", name: "b" }] });
  assert.deepEqual(none, [{}, {}]);
  assert.deepEqual(changes, { name: "m", machineType: null, idleSeconds: 600 });
  assert.deepEqual(problems, [{ at: 12, part: "path" }, { at: 0, part: null }, { at: null, part: null }, { at: null, part: null }, null, null]);
});
