// A headless Chromium with a fresh profile, and pages that remember everything they complained of.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const SCREENSHOTS = process.env.SCREENSHOTS;

/** Starts the browser; `CHROMIUM` names another binary than the distribution's. */
export async function openBrowser({ width = 1360, height = 900, colorScheme = "light" } = {}) {
  const profile = await mkdtemp(join(tmpdir(), "gradientd-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ARGUMENTS,
    viewport: { width, height },
    colorScheme,
    acceptDownloads: true,
    timezoneId: "UTC",
  });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  return {
    context,
    /** A tab whose console errors, page errors and policy violations collect in `tab.complaints`. */
    async tab() {
      const page = await context.newPage();
      page.setDefaultTimeout(30_000); // A deadline, not a wait: a busy machine may need it.
      page.complaints = [];
      const open = new Set();
      page.unanswered = () => [...open].map((request) => `unanswered: ${request.method()} ${request.url()}`);
      page.on("request", (request) => open.add(request));
      page.on("requestfinished", (request) => open.delete(request));
      page.on("requestfailed", (request) => open.delete(request));
      page.on("pageerror", (error) => page.complaints.push(`error: ${error.message}`));
      page.on("console", (message) => {
        // A refused request is told by the page itself; the browser's own line about it is no fault.
        // So is a network that changed, as it does whenever a container beside the browser starts.
        const refused = /Failed to load resource: .*\b(401|404|409|412|422|429|ERR_NETWORK_CHANGED)\b/.test(message.text());
        if (message.type() === "error" && !refused) page.complaints.push(`console: ${message.text()}`);
      });
      againWhereTheNetworkChanged(page);
      await page.addInitScript(() => {
        document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
      });
      return page;
    },
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/**
 * Goes to an address once more where the browser dropped a script because the network changed: whenever a
 * container beside it starts or ends. Without its scripts a page stays empty, and nobody is there to reload it.
 */
function againWhereTheNetworkChanged(page) {
  let dropped = false;
  page.on("requestfailed", (request) => (dropped ||= request.resourceType() === "script" && request.failure()?.errorText === "net::ERR_NETWORK_CHANGED"));
  const once = page.goto.bind(page);
  page.goto = async (address, options) => {
    for (let left = 3; ; left -= 1) {
      dropped = false;
      const answer = await once(address, options);
      if (!dropped || left === 0) return answer;
    }
  };
}

/** Waits for a part of the page; a page that never shows it is told with what it shows instead. */
export async function sees(page, selector) {
  try {
    await page.waitForSelector(selector);
  } catch (cause) {
    await picture(page, "not-seen");
    throw new Error(`never showed ${selector}: ${await shown(page)}`, { cause });
  }
}

/** What a person would see, and what the page waits for: for tests that failed. */
export async function shown(page) {
  const words = await page.evaluate(() => document.body.innerText.slice(0, 1500)).catch((error) => error.message);
  return [`${page.url()} shows`, words, ...page.complaints, ...page.unanswered()].join("\n");
}

/** Saves what the page looks like where `SCREENSHOTS` names a folder. */
export async function picture(page, name, options = {}) {
  if (!SCREENSHOTS) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), ...options });
}
