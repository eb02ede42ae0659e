// What uses the disk, where else files may lie, what can be cleaned up, and whether all of it is sound.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { bytes, count } from "/format.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import "/components/meter-bar.js";
import "/components/time-ago.js";
import "/pages/storage-cleaning.js";
import "/pages/storage-integrity.js";
import "/pages/storage-providers.js";

const PARTS = {
  datasets: ["Datasets", "Every content once, however many versions hold it"],
  storage: ["/storage", "What jobs keep for each other"],
  artifacts: ["Artifacts", "What jobs wrote to /artifacts"],
  notebooks: ["Notebooks", "Files of notebooks, and packages that they keep"],
  workspaces: ["Workspaces", "Files that jobs were started with"],
  logs: ["Logs", "Output and charts of jobs"],
  uploads: ["Uploads", "Archives that wait for their job"],
  cache: ["Cache", "Copies of versions that lie in a bucket"],
};
const OUTSIDE_QUOTA = ["logs", "cache"];
const MEASURE_MILLIS = 30_000;

export default class StoragePage extends Page {
  start() {
    this.heading = "Storage";
    this.storage = new Resource(this, api.storage);
    this.storage.load();
    this.watch(["dataset", "version", "import"], () => this.storage.refresh());
    this.every(MEASURE_MILLIS, () => this.storage.load());
  }

  view() {
    const admin = document.querySelector("app-shell").session?.scope === "admin";
    return html`
      <header class="page-head"><div><h1>Storage</h1><p>What of this box's disk the team uses, and where datasets may lie instead.</p></div><div class="actions"><a class="button" href="/storage/files"><ui-icon name="folder-open" size="s"></ui-icon>Files of the team</a></div></header>
      ${this.storage.value?.check?.damaged ? html`<div class="note page-note" data-tone="bad" role="alert"><ui-icon name="triangle-alert"></ui-icon><div><strong>${count(this.storage.value.check.damaged, "stored file")} ${this.storage.value.check.damaged === 1 ? "is" : "are"} damaged</strong><div class="small soft">New jobs are refused the versions that have such files. <a class="link" href="#integrity-title">See which, and send them again.</a></div></div></div>` : nothing}
      ${this.storage.show((storage) => this.#use(storage))}
      <section class="section" aria-labelledby="providers-title"><div class="section-head"><h2 id="providers-title">Storage providers</h2></div><storage-providers ?admin=${admin}></storage-providers></section>
      ${this.storage.value ? this.#cache(this.storage.value.cache) : nothing}
      <div class="columns">
        <section class="section" aria-labelledby="cleaning-title"><div class="section-head"><h2 id="cleaning-title">Cleaning up</h2></div><storage-cleaning ?admin=${admin} @cleaned=${() => this.storage.load()}></storage-cleaning></section>
        <section class="section" aria-labelledby="integrity-title"><div class="section-head"><h2 id="integrity-title">Integrity</h2></div><storage-integrity ?admin=${admin}></storage-integrity></section>
      </div>`;
  }

  #use({ disk, quotaBytes, usedBytes, countedAt, parts, images }) {
    if (usedBytes === null) return html`<div class="card">${empty({ icon: "hard-drive", title: "Being counted", text: "The box walks through its files in the background. What uses the disk is shown here when it is through." })}</div>`;
    const counted = parts.filter(({ kind }) => !quotaBytes || !OUTSIDE_QUOTA.includes(kind));
    const whole = quotaBytes ?? disk?.totalBytes ?? usedBytes;
    const shown = counted.filter((part) => part.bytes > 0);
    const share = usedBytes / whole;
    return html`
      <section class="card card-body stack" aria-label="What uses the disk">
        <div class="spread wrap">
          <div><span class="figure">${bytes(usedBytes)}</span> <span class="soft">${quotaBytes ? `of the team's ${bytes(quotaBytes)}` : "used by the team"}</span></div>
          <span class="small quiet">${disk ? `${bytes(disk.freeBytes)} of the disk's ${bytes(disk.totalBytes)} are free` : ""}${countedAt ? html` · counted <time-ago at=${countedAt}></time-ago>` : nothing}</span>
        </div>
        ${quotaBytes && share >= 0.9 ? html`<div class="note" data-tone=${share >= 1 ? "bad" : "waiting"} role="alert"><ui-icon name="triangle-alert"></ui-icon><div><strong>${share >= 1 ? "The team's quota is used up" : "The team's quota is nearly used up"}</strong><div class="small soft">Uploads, imports and outputs beyond it are refused. Delete versions or artifacts that nobody needs, then clean up below; or ask an admin for more.</div></div></div>` : nothing}
        <div class="use-bar" role="img" aria-label=${shown.map((part) => `${PARTS[part.kind]?.[0] ?? part.kind} ${bytes(part.bytes)}`).join(", ")}>
          ${shown.map((part) => html`<i data-part=${part.kind} .style=${`flex: 0 0 ${(100 * part.bytes) / whole}%`}></i>`)}
        </div>
        <table class="use-table"><thead class="visually-hidden"><tr><th>Part</th><th>What it is</th><th>Files</th><th>Size</th></tr></thead><tbody>
          ${parts.map((part) => html`<tr><td><span class="row-tight"><i class="swatch" data-part=${part.kind}></i>${PARTS[part.kind]?.[0] ?? part.kind}</span></td><td class="quiet small hide-narrow">${PARTS[part.kind]?.[1] ?? ""}${quotaBytes && OUTSIDE_QUOTA.includes(part.kind) ? "; not counted towards the quota" : ""}</td><td class="number quiet small hide-narrow">${count(part.files, "file")}</td><td class="number">${bytes(part.bytes)}</td></tr>`)}
          ${images ? html`<tr><td><span class="row-tight"><i class="swatch outside"></i>Images</span></td><td class="quiet small hide-narrow">Container images of the whole box, not of the team's share</td><td class="number quiet small hide-narrow">${count(images.count, "image")}</td><td class="number">${bytes(images.bytes)}</td></tr>` : nothing}
        </tbody></table>
      </section>`;
  }

  #cache({ budgetBytes, usedBytes, items }) {
    return html`
      <section class="section" aria-labelledby="cache-title">
        <div class="section-head"><h2 id="cache-title">Cache</h2><span class="small quiet">${bytes(usedBytes)} of ${bytes(budgetBytes)}, all teams together</span></div>
        <div class="card">
          ${items.length ? html`
            <div class="card-body"><meter-bar aria-label="Cache in use" .value=${budgetBytes ? usedBytes / budgetBytes : 0}></meter-bar></div>
            <div class="table-wrap"><table><thead><tr><th>Version</th><th class="number">Last used</th><th class="number">Size</th></tr></thead>
              <tbody>${items.map((item) => html`<tr><td><span class="row-tight"><a class="link" href="/datasets/${item.dataset}/versions/${item.version}">${item.name}:${item.version}</a>${item.mounted ? html`<span class="tag accent">in use</span>` : nothing}</span></td><td class="number quiet"><time-ago at=${item.usedAt}></time-ago></td><td class="number">${bytes(item.bytes)}</td></tr>`)}</tbody></table></div>`
          : empty({ icon: "cloud", title: "The cache is empty", text: `A version in a bucket is copied here before a job reads it, and stays until room is needed: ${bytes(budgetBytes)} at most, what is unused for longest goes first.` })}
        </div>
      </section>`;
  }
}

customElements.define("storage-page", StoragePage);
