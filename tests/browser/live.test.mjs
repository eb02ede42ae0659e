// What only a mock can be made to do on request: a stream that breaks, an engine that is away, a log
// that tries to be markup, a log that is long.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { picture } from "./browser.mjs";
import { browser, mock, page } from "./mock-tab.mjs";

afterEach(() => {
  // Chromium reports a broken stream as an error of the console; here it is broken on purpose.
  const unexpected = page.complaints.splice(0).filter((complaint) => !/ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|503/.test(complaint));
  assert.deepEqual(unexpected, []);
});

test("a broken stream is told, and what was missed is fetched when it is back", async () => {
  await page.goto(`${mock.url}/jobs`);
  await page.locator("job-table tr.linked").first().waitFor();
  mock.cutStreams();
  await page.getByText("The box is not heard").waitFor();
  await picture(page, "light-broken");
  mock.box.submit({ image: "busybox", command: "true", name: "made-meanwhile", machineType: "cpu-small" });
  mock.healStreams();
  await page.getByText("The box is not heard").waitFor({ state: "detached", timeout: 30_000 });
  await page.getByRole("link", { name: "made-meanwhile" }).waitFor();
});

test("a new job appears in an open list by itself", async () => {
  mock.box.submit({ image: "busybox", command: "true", name: "made-elsewhere", machineType: "cpu-small" });
  await page.getByRole("link", { name: "made-elsewhere" }).waitFor();
});

test("older jobs come by the page and none is shown twice", async () => {
  await page.getByRole("button", { name: "Show older jobs" }).click();
  await page.getByRole("link", { name: "sweep-1", exact: true }).waitFor();
  const jobs = await page.locator("tr[data-job]").evaluateAll((rows) => rows.map((row) => row.dataset.job));
  assert.equal(new Set(jobs).size, jobs.length);
  assert.equal(jobs.length, mock.box.jobs.length);
});

test("what a job writes is text, never markup", async () => {
  mock.box.write("js8", `<img src=x onerror="window.owned = true"> \x1b[31m<b>red</b>\x1b[0m \x1b]0;title\x07\x1b[2Kdone`);
  await page.goto(`${mock.url}/jobs/js8`);
  const line = page.locator("log-view .line", { hasText: "onerror" });
  await line.waitFor();
  assert.equal(await line.locator("> span").textContent(), `<img src=x onerror="window.owned = true"> <b>red</b> done`);
  assert.equal(await line.locator("img, b").count(), 0);
  assert.equal(await line.locator(".ansi-fg-red").textContent(), "<b>red</b>");
});

test("a progress bar shows its last state", async () => {
  mock.box.write("js8", "  1%|#\r 50%|#####\r100%|##########\r");
  await page.locator("log-view .line", { hasText: "100%|##########" }).waitFor();
  assert.equal(await page.locator("log-view .line", { hasText: " 50%|#####" }).count(), 0);
});

test("of a long log only the lines in view are elements", async () => {
  for (let i = 0; i < 60_000; i += 1) mock.box.logs.get("js7").push({ line: mock.box.logs.get("js7").length, time: new Date().toISOString(), stream: "stdout", text: `bulk ${i}`, partial: false });
  await page.goto(`${mock.url}/jobs/js7`);
  await page.getByText("bulk 59999").waitFor();
  assert.ok((await page.locator("log-view .line").count()) < 120);
  await page.locator("log-window").focus();
  await page.keyboard.press("Home");
  await page.locator("log-view .line", { hasText: "CIFAR-10" }).waitFor();
  await page.evaluate(() => (document.querySelector("log-window").scrollTop = 30_000 * 20));
  await page.locator("log-view .line:not(.waiting) > a", { hasText: /^30001$/ }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Follow" }).getAttribute("aria-pressed"), "false");
});

test("an engine that is away is told with what to do", async () => {
  mock.box.engine = { state: "unreachable", version: null, message: "Cannot connect to /var/run/docker.sock. Start it with: systemctl start docker" };
  await page.goto(`${mock.url}/`);
  await page.getByText("The container engine does not answer").waitFor();
  await page.getByText("systemctl start docker").waitFor();
  await picture(page, "light-engine-away");
});

test("a session that ends leads to the sign-in and back again", async () => {
  await page.goto(`${mock.url}/jobs?state=failed,error`);
  await page.locator("job-table tr.linked").first().waitFor();
  await browser.context.clearCookies();
  await page.getByRole("button", { name: "Cancelled" }).click();
  await page.getByLabel("Access key").fill("gdk_mock");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "long-sleep" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("state"), "cancelled");
});

test("a key that is revoked ends the session of an open page", async () => {
  await page.goto(`${mock.url}/projects`);
  await page.getByText("speech-to-text").waitFor();
  await browser.context.clearCookies();
  mock.cutStreams(401);
  await page.getByRole("heading", { name: "Sign in to gradientd" }).waitFor();
  mock.healStreams();
});

test("a second attempt's log takes the place of the first's", async () => {
  await page.getByLabel("Access key").fill("gdk_mock");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("speech-to-text").waitFor();
  const job = mock.box.submit({ image: "busybox", command: "true", name: "tried-twice", machineType: "cpu-small", attempts: 2 });
  await page.goto(`${mock.url}/jobs/${job.id}`);
  await page.getByText("step 2", { exact: true }).waitFor();
  mock.box.logs.set(job.id, []);
  mock.box.write(job.id, "second attempt begins");
  job.attempt = 2;
  mock.box.emit("job", job.id, "state");
  await page.locator("log-view .line", { hasText: "second attempt begins" }).waitFor();
  assert.equal(await page.locator("log-view .line > a").first().textContent(), "1");
  await page.getByLabel("Attempt").waitFor();
});

test("a network that breaks off is asked again, and a page that cannot come says so", async () => {
  await page.goto(`${mock.url}/jobs`);
  const once = (address) => page.route(address, (route) => route.abort("connectionreset"), { times: 1 });
  await once("**/pages/secrets.js");
  await once("**/api/v1/secrets*");
  await page.getByRole("link", { name: "Secrets", exact: true }).click();
  await page.getByRole("heading", { name: "Secrets", exact: true }).waitFor();
  await page.getByRole("table").first().waitFor();

  await page.route("**/pages/keys.js", (route) => route.abort("connectionreset"));
  await page.getByRole("link", { name: "Keys", exact: true }).click();
  await page.getByText("This page could not be loaded").waitFor();
  await picture(page, "light-not-loaded");
  await page.unroute("**/pages/keys.js");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("heading", { name: "Keys", exact: true }).waitFor();
});
