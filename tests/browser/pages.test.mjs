// Every page, light and dark, wide and narrow, on invented data: it draws, and the browser has
// nothing to complain of. With SCREENSHOTS=DIR each is saved to be looked at.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, picture, sees } from "./browser.mjs";
import { startMock } from "./mock.mjs";

const PAGES = {
  overview: ["/", "gpu-meter >> nth=3"],
  jobs: ["/jobs", "job-table tr.linked >> nth=20"],
  "jobs-filtered": ["/jobs?state=failed,error&tag=llm", "text=finetune-llama"],
  "jobs-none": ["/jobs?q=zzz", "text=No job fits"],
  "job-log": ["/jobs/js8", "log-view .line >> nth=10"],
  "job-line": ["/jobs/js8#L1200", "log-view .line.marked"],
  "job-charts": ["/jobs/js8/charts", "line-chart canvas >> nth=1"],
  "job-metrics": ["/jobs/js7/metrics", "line-chart canvas >> nth=7"],
  "job-artifacts": ["/jobs/js4/artifacts", "text=model.safetensors"],
  "job-spec": ["/jobs/js4/spec", "text=Submitted"],
  "job-failed": ["/jobs/js5", "text=Choose a larger one"],
  "job-queued": ["/jobs/js9", "text=Number 1 in the queue"],
  "job-preparing": ["/jobs/js6", "text=1.3 GiB of 3.4 GiB"],
  "job-missing": ["/jobs/nothing", "text=There is no such thing"],
  "new-job": ["/jobs/new", ".pick >> nth=4"],
  clone: ["/jobs/new?clone=js8", ".env-row"],
  projects: ["/projects", "text=speech-to-text"],
  project: ["/projects/pr2", "job-table tr.linked >> nth=3"],
  secrets: ["/secrets", "text=HF_TOKEN"],
  keys: ["/keys", "text=this session"],
  "not-found": ["/nowhere", "text=There is no such page"],
};

let mock;
before(async () => (mock = await startMock()));
after(() => mock.close());

for (const [look, options] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, phone: { width: 390, height: 844 } })) {
  test(`every page draws without a complaint: ${look}`, async () => {
    const browser = await openBrowser(options);
    try {
      const page = await browser.tab();
      await page.goto(`${mock.url}/sign-in`);
      await page.getByLabel("Access key").fill("gdk_mock");
      await picture(page, `${look}-sign-in`);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForSelector("nav.nav");
      for (const [name, [path, sign]] of Object.entries(PAGES)) {
        await page.goto(mock.url + path);
        await sees(page, sign);
        await page.evaluate(() => document.fonts.ready);
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wider <= 0, `${name} is ${wider} pixels wider than the window`);
        await picture(page, `${look}-${name}`, { fullPage: !name.startsWith("job") || name === "job-metrics" });
      }
      assert.deepEqual(page.complaints, []);
    } finally {
      await browser.close();
    }
  });
}

test("a box on which nothing happened yet teaches the first job", async () => {
  const fresh = await startMock({ empty: true });
  const browser = await openBrowser();
  try {
    const page = await browser.tab();
    await page.goto(fresh.signIn);
    await page.getByRole("heading", { name: "Run the first job" }).waitFor();
    await page.getByText("No GPUs on this box").waitFor();
    await picture(page, "light-first", { fullPage: true });
    assert.equal(new URL(page.url()).hash, "", "the token left the address");
    assert.deepEqual(page.complaints, []);
  } finally {
    await browser.close();
    await fresh.close();
  }
});
