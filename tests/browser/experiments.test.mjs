// Experiments as a person has them: started, stopped, deleted, found by tag.
import assert from "node:assert/strict";
import { test } from "node:test";
import { sees } from "./browser.mjs";
import { mock, page } from "./mock-tab.mjs";

test("an experiment is started from its page and its run is listed there", async () => {
  await page.goto(`${mock.url}/experiments`);
  await page.getByRole("link", { name: "digits-sweep" }).click();
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await sees(page, "job-table tr.linked");
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Start again" }).waitFor();
  await page.locator("job-table tr.linked a.row-link").click();
  await page.getByRole("link", { name: "ex3" }).click();
  await page.getByRole("heading", { name: "digits-sweep" }).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("a run that is started elsewhere is seen in the open list", async () => {
  await page.goto(`${mock.url}/experiments`);
  const state = page.locator("tr[data-experiment=ex1] state-chip");
  await state.waitFor();
  mock.box.startExperiment("ex1");
  await page.locator("tr[data-experiment=ex1] state-chip[state=running]").waitFor();
});

test("an experiment is deleted only when a person is sure", async () => {
  await page.goto(`${mock.url}/experiments?tag=vision`);
  await page.getByRole("link", { name: "resnet50" }).click();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Delete" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("go with it").waitFor();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("heading", { name: "Experiments", exact: true }).waitFor();
  assert.equal(await page.getByRole("link", { name: "resnet50" }).count(), 0);
  assert.deepEqual(page.complaints, []);
});
