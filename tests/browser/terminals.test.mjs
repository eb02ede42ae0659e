// Terminals on a shell of the mock: typed into, left and come back to, cut off, and over.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { picture, shown } from "./browser.mjs";
import { browser, mock, page } from "./mock-tab.mjs";

afterEach(async (context) => {
  if (context.passed === false) {
    await picture(page, "failed-terminal");
    context.diagnostic(await shown(page));
  }
  assert.deepEqual(page.complaints.splice(0), []);
});

const screen = () => page.locator("terminal-screen:not([hidden])");
const rows = () => screen().locator(".xterm-rows");
const line = (text) => rows().getByText(text).first();
const types = (text) => page.keyboard.type(text);
const terminals = () => [...mock.box.terminals.open.values()];

/** Waits until something holds that the page does not show. */
async function until(holds) {
  const begun = Date.now();
  while (!holds()) {
    assert.ok(Date.now() - begun < 30_000, String(holds));
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

test("the first visit opens a terminal, which has the keyboard and the size of its place", async () => {
  await page.goto(`${mock.url}/jobs/js8/terminal`);
  await line("root@js8").waitFor();
  await until(() => terminals()[0].size[1] !== 80);
  await types("echo hello from here\r");
  await rows().getByText("hello from here", { exact: true }).waitFor();
  const [before] = [terminals()[0].size];
  await page.setViewportSize({ width: 900, height: 700 });
  await until(() => terminals()[0].size[1] < before[1]);
  await page.setViewportSize({ width: 1360, height: 900 });
  await until(() => terminals()[0].size[1] === before[1]);
});

test("colours of every kind are drawn, and the policy has nothing against it", async () => {
  await types("colours\r");
  await line("true colour").waitFor();
  const colour = (text) => rows().locator("span", { hasText: text }).last().evaluate((span) => getComputedStyle(span).color);
  assert.notEqual(await colour("true colour"), await colour("bold"));
  assert.notEqual(await colour("palette"), await colour("bold"));
  const [row] = [await rows().locator("> div").first().evaluate((div) => getComputedStyle(div).fontFamily)];
  assert.match(row, /Geist Mono/);
  await picture(page, "light-terminal-colours");
  await page.evaluate(() => (document.documentElement.dataset.theme = "dark"));
  await page.waitForFunction(() => getComputedStyle(document.querySelector("terminal-screen .xterm-scrollable-element")).backgroundColor === "rgb(19, 20, 22)");
  await picture(page, "dark-terminal-colours");
  await page.evaluate(() => delete document.documentElement.dataset.theme);
});

test("who leaves the page and comes back finds the terminal as it was, and answers nothing twice", async () => {
  await types("ask\r");
  await until(() => terminals()[0].line.includes("[")); // The terminal's answer, which the shell takes as typed.
  await types("\r");
  await until(() => terminals()[0].line === "");
  const said = terminals()[0].shown.length;
  await page.getByRole("link", { name: "Log", exact: true }).click();
  await until(() => !terminals()[0].socket);
  await page.getByRole("link", { name: "Terminal", exact: true }).click();
  await line("hello from here").waitFor();
  await types("echo again\r");
  await rows().getByText("again", { exact: true }).waitFor();
  assert.equal(terminals().length, 1);
  assert.ok(!/\^\[|\[\d+;\d+R/.test(terminals()[0].shown.slice(said)), JSON.stringify(terminals()[0].shown.slice(said)).slice(0, 200));
});

test("a connection that was cut is told, and comes back by itself", async () => {
  mock.box.terminals.cut();
  await screen().getByText("The connection was cut").waitFor();
  await picture(page, "light-terminal-cut");
  await screen().getByText("The connection was cut").waitFor({ state: "detached" });
  await types("echo healed\r");
  await rows().getByText("healed", { exact: true }).waitFor();
});

test("several terminals have tabs, and closing one shows its neighbour", async () => {
  await page.getByRole("button", { name: "New terminal" }).click();
  await page.getByRole("tab", { name: "2", selected: true }).waitFor();
  await line("root@js8").waitFor();
  await types("echo second one\r");
  await rows().getByText("second one", { exact: true }).waitFor();
  await picture(page, "light-terminal-tabs");
  await page.getByRole("tab", { name: "1" }).click();
  await line("healed").waitFor();
  await types("echo first one\r");
  await rows().getByText("first one", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Close terminal 1" }).click();
  await line("second one").waitFor();
  assert.equal(terminals().length, 1);
});

test("the same terminal in another tab takes over, and can be taken back", async () => {
  const other = await browser.tab();
  await other.goto(`${mock.url}/jobs/js8/terminal`);
  await other.locator(".xterm-rows").getByText("second one", { exact: true }).waitFor();
  await screen().getByText("You have this terminal open in another tab").waitFor();
  await screen().getByRole("button", { name: "Use it here" }).click();
  await screen().getByText("another tab").waitFor({ state: "detached" });
  await other.getByText("You have this terminal open in another tab").waitFor();
  assert.deepEqual(other.complaints, []);
  await other.close();
});

test("what is selected is copied, and what is copied is pasted", async () => {
  await screen().locator(".xterm-screen").click({ position: { x: 5, y: 5 } });
  await types("echo copied-word\r");
  // Letters take no clicks: what lies over them does.
  const word = await rows().getByText("copied-word", { exact: true }).first().boundingBox();
  await page.mouse.dblclick(word.x + 20, word.y + word.height / 2);
  await page.keyboard.press("Control+c");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "copied-word");
  await page.evaluate(() => navigator.clipboard.writeText("echo pasted"));
  await screen().locator(".xterm-screen").click({ position: { x: 5, y: 5 } });
  await page.keyboard.press("Control+v");
  await page.keyboard.press("Enter");
  await rows().getByText("pasted", { exact: true }).waitFor();
});

test("a shell that exits says so, and another is a click away", async () => {
  await types("exit 3\r");
  await screen().getByText("The shell has exited with code 3.").waitFor();
  await picture(page, "light-terminal-exited");
  await page.getByRole("button", { name: "Close terminal 2" }).click();
  await page.getByText("No terminal is open").waitFor();
  await page.getByRole("button", { name: "Open a terminal" }).click();
  await line("root@js8").waitFor();
});

test("the keyboard leads out of a terminal", async () => {
  await page.keyboard.press("Shift+Escape");
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("role")), "tab");
});

test("a terminal that cannot be opened says why", async () => {
  for (let n = 0; n < 16; n++) mock.box.terminals.make("js8", false);
  await page.getByRole("button", { name: "New terminal" }).click();
  await page.getByText("16 terminals are open in js8").waitFor();
  await page.getByText("of others").waitFor({ state: "detached" });
  mock.box.terminals.open.clear();
  await page.goto(`${mock.url}/jobs/js9/terminal`);
  await page.getByText("A terminal can be opened as soon as it does").waitFor();
  await page.goto(`${mock.url}/notebooks/nstopped/terminal`);
  await page.getByText("Start it, then open a terminal").waitFor();
  await picture(page, "light-terminal-none");
});
