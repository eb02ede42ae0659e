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
  "job-terminal": ["/jobs/js8/terminal", "terminal-screen .xterm-rows span"],
  "job-terminal-over": ["/jobs/js5/terminal", "text=No terminal here now"],
  "job-charts": ["/jobs/js8/charts", "line-chart canvas >> nth=1"],
  "job-metrics": ["/jobs/js7/metrics", "line-chart canvas >> nth=7"],
  "job-artifacts": ["/jobs/js4/artifacts", "text=model.safetensors"],
  "job-spec": ["/jobs/js4/spec", "text=Submitted"],
  "job-failed": ["/jobs/js5", "text=Choose a larger one"],
  "job-queued": ["/jobs/js9", "text=Number 1 in the queue"],
  "job-preparing": ["/jobs/js6", "text=1.3 GiB of 3.4 GiB"],
  "job-missing": ["/jobs/nothing", "text=There is no such thing"],
  "new-job": ["/jobs/new", ".pick >> nth=4"],
  experiments: ["/experiments", "text=digits-sweep"],
  "experiments-none": ["/experiments?q=zzz", "text=No experiment fits"],
  experiment: ["/experiments/ex2", "job-table tr.linked >> nth=2"],
  "experiment-new": ["/experiments/ex3", "text=Not started yet"],
  "experiment-failed": ["/experiments/ex1", "text=jsold4"],
  notebooks: ["/notebooks", "text=evaluate"],
  "notebooks-mine": ["/notebooks?whose=mine", "text=train-digits"],
  "notebooks-public": ["/notebooks?whose=public", "text=attention-explained"],
  "notebooks-none": ["/notebooks?q=zzz", "text=No notebook fits"],
  notebook: ["/notebooks/n4kq0z81", "text=train.ipynb >> nth=0"],
  "notebook-file": ["/notebooks/n4kq0z81?file=train.ipynb", "notebook-view .cell >> nth=6"],
  "notebook-markdown": ["/notebooks/n4kq0z81?file=README.md", ".preview-markdown table"],
  "notebook-table": ["/notebooks/n4kq0z81?file=results.csv", ".preview-table td >> nth=20"],
  "notebook-terminal": ["/notebooks/n4kq0z81/terminal", "terminal-screen .xterm-rows span"],
  "notebook-log": ["/notebooks/n4kq0z81/log", "log-view .line >> nth=3"],
  "notebook-metrics": ["/notebooks/n4kq0z81/metrics", "line-chart canvas >> nth=3"],
  "notebook-connect": ["/notebooks/n4kq0z81/connect", "text=Make a token"],
  "notebook-sessions": ["/notebooks/n4kq0z81/sessions", "text=jsn4kq0z812"],
  "notebook-settings": ["/notebooks/n4kq0z81/settings", ".pick >> nth=4"],
  "notebook-soon": ["/notebooks/nsoon000", ".session-end[data-tone=waiting]"],
  "notebook-queued": ["/notebooks/nqueued0", "text=Number 2 in the queue"],
  "notebook-preparing": ["/notebooks/nprepare", "text=1.3 GiB of 3.4 GiB"],
  "notebook-starting": ["/notebooks/nstart00", "text=it can be opened in a moment"],
  "notebook-stopped": ["/notebooks/nstopped", "text=Stopped after 3 h without activity"],
  "notebook-failed": ["/notebooks/nfailed0", "text=Read its log"],
  "notebook-fork": ["/notebooks/nfork000", "text=Its files are being copied"],
  "notebook-of-others": ["/notebooks/npublic0", "text=attention.ipynb"],
  "notebook-missing": ["/notebooks/nothing", "text=There is no such thing"],
  "new-notebook": ["/notebooks/new?image=jupyter/scipy-notebook&git=https://example.org/a/b.git", ".pick >> nth=4"],
  tensorboards: ["/tensorboards", "text=resnet-sweep"],
  "tensorboards-of-a-job": ["/tensorboards?member=js4", "tr[data-tensorboard] >> nth=1"],
  "tensorboards-none": ["/tensorboards?q=zzz", "text=No TensorBoard fits"],
  tensorboard: ["/tensorboards/tb4kq0z81xwp", "text=has no runs yet"],
  "tensorboard-log": ["/tensorboards/tb4kq0z81xwp/log", "log-view .line >> nth=1"],
  "tensorboard-settings": ["/tensorboards/tb4kq0z81xwp/settings", ".pick >> nth=4"],
  "tensorboard-starting": ["/tensorboards/tbstarting00", "text=Its time begins when it runs"],
  "tensorboard-preparing": ["/tensorboards/tbprepare000", "text=pulling tensorflow"],
  "tensorboard-queued": ["/tensorboards/tbqueued0000", "text=Number 3 in the queue"],
  "tensorboard-stopped": ["/tensorboards/tbstopped000", "text=nobody looked at it for 30 min"],
  "tensorboard-failed": ["/tensorboards/tbfailed0000", "text=exec: tensorboard: not found"],
  "tensorboard-empty": ["/tensorboards/tbempty00000", "text=It shows nothing yet"],
  "tensorboard-missing": ["/tensorboards/tbnothing", "text=There is no TensorBoard"],
  "new-tensorboard": ["/tensorboards/new?name=sweep", ".offers li >> nth=4"],
  "run-repository": ["/github/fastai/fastbook/blob/master/01_intro.ipynb?clone=true&runtime=jupyter/scipy-notebook", ".pick >> nth=4"],
  "run-nothing": ["/git/nowhere", "text=This names no repository"],
  "team-files": ["/storage/files", "text=notes.txt"],
  "team-file": ["/storage/files?path=models/bert&file=models/bert/config.json", "text=layers"],
  clone: ["/jobs/new?clone=js8", ".env-row"],
  projects: ["/projects", "text=speech-to-text"],
  project: ["/projects/pr2", "job-table tr.linked >> nth=3"],
  "job-with-data": ["/jobs/js5/spec", ".job-data >> text=digits:v3ccccc"],
  "new-job-with-data": ["/jobs/new?dataset=digits", ".mount-row"],
  datasets: ["/datasets", "text=million-images"],
  "datasets-none": ["/datasets?q=zzz", "text=No dataset fits"],
  dataset: ["/datasets/dsdigits", "lineage-graph .node >> nth=5"],
  "dataset-empty": ["/datasets/dsempty", "text=Begin the first version"],
  "dataset-damaged": ["/datasets/dsimgnet", "text=Damaged files"],
  "dataset-missing": ["/datasets/nothing", "text=There is no dataset"],
  "version-files": ["/datasets/dsdigits/versions/v2bbbbb", "file-tree .tree-row >> nth=5"],
  "version-table": ["/datasets/dsdigits/versions/v2bbbbb?path=labels.csv", ".preview-table td >> nth=20"],
  "version-text": ["/datasets/dsdigits/versions/v1aaaaa?path=long.log", "text=The first 64 KiB"],
  "version-image": ["/datasets/dsdigits/versions/v1aaaaa?path=images/003.png", ".preview-image img"],
  "version-million": ["/datasets/dsimages/versions/vmillio", "file-tree .tree-row >> nth=2"],
  "version-parquet": ["/datasets/dsimages/versions/vmillio?path=labels.parquet", ".preview-table td >> nth=20"],
  "version-changes": ["/datasets/dsdigits/versions/v2bbbbb/changes", "text=CHANGES.md"],
  "version-about": ["/datasets/dsdigits/versions/v2bbbbb/about", "text=CC BY 4.0"],
  "version-draft": ["/datasets/dsdigits/versions/v4ddddd", "upload-panel .drop"],
  "version-damaged": ["/datasets/dsimgnet/versions/vimgnet", "text=Files of this version are damaged"],
  storage: ["/storage", "storage-integrity .damaged-list"],
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
    await page.goto(`${fresh.url}/datasets`);
    await page.getByRole("region", { name: "New dataset as curl" }).getByText("/api/v1/datasets").waitFor();
    await picture(page, "light-first-dataset", { fullPage: true });
    await page.goto(`${fresh.url}/experiments`);
    await page.getByRole("region", { name: "New experiment as curl" }).getByText("/api/v1/experiments").waitFor();
    await picture(page, "light-first-experiment", { fullPage: true });
    await page.goto(`${fresh.url}/notebooks`);
    await page.getByRole("region", { name: "New notebook as curl" }).getByText("/api/v1/notebooks").waitFor();
    await page.getByRole("link", { name: "Make the first one" }).waitFor();
    await picture(page, "light-first-notebook", { fullPage: true });
    await page.goto(`${fresh.url}/tensorboards`);
    await page.getByRole("region", { name: "New TensorBoard as curl" }).getByText("/api/v1/tensorboards").waitFor();
    await page.getByRole("link", { name: "Make the first one" }).waitFor();
    await picture(page, "light-first-tensorboard", { fullPage: true });
    await page.goto(`${fresh.url}/storage/files`);
    await page.getByText("No files yet").waitFor();
    await page.goto(`${fresh.url}/storage`);
    await page.getByText("No buckets").waitFor();
    await page.getByText("The cache is empty").waitFor();
    await page.getByText("Nothing was checked yet.").waitFor();
    await picture(page, "light-first-storage", { fullPage: true });
    assert.deepEqual(page.complaints, []);
  } finally {
    await browser.close();
    await fresh.close();
  }
});
