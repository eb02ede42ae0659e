// A tab on invented data, signed in, for all tests of one file.
import { after, before } from "node:test";
import { openBrowser } from "./browser.mjs";
import { startMock } from "./mock.mjs";

export let mock, browser, page;

before(async () => {
  mock = await startMock();
  browser = await openBrowser();
  page = await browser.tab();
  await page.goto(mock.signIn);
  await page.locator("gpu-meter").first().waitFor();
});

after(async () => {
  await browser.close();
  await mock.close();
});
