// <storage-cleaning ?admin>: what a clean-up would free, and doing it. Emits "cleaned".
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { bytes, count } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { failed } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/time-ago.js";

class StorageCleaning extends Element {
  start() {
    this.last = new Resource(this, api.lastCleaning);
    this.last.load();
  }

  view() {
    const admin = this.hasAttribute("admin");
    const plan = this.plan;
    return html`
      <div class="card card-body stack">
        <p class="small quiet">Deleted versions and contents that no version has are removed by themselves once their grace period is over, and never while a job reads them.</p>
        ${this.last.show((last) => (last ? html`<p class="small">Last clean-up <time-ago at=${last.at}></time-ago>: ${last.files ? `${bytes(last.bytes)} in ${count(last.files, "file")} freed` : "nothing to free on the disk"}${last.buckets.objects ? `, ${bytes(last.buckets.bytes)} in buckets` : ""}.</p>` : html`<p class="small">It has not run yet.</p>`))}
        ${this.problem ? failed(this.problem) : nothing}
        ${plan ? this.#plan(plan) : nothing}
        ${admin ? html`<div class="row">
          <button class="button" ?disabled=${Boolean(this.busy)} @click=${() => this.#run(true)}><ui-icon name="search" size="s"></ui-icon>${this.busy === "look" ? "Looking…" : "See what it would free"}</button>
          ${plan && !isNothing(plan) ? html`<button class="button primary" ?disabled=${Boolean(this.busy)} @click=${() => this.#run(false)}><ui-icon name="brush-cleaning" size="s"></ui-icon>${this.busy === "clean" ? "Cleaning up…" : plan.files ? `Free ${bytes(plan.bytes)} now` : "Clean up now"}</button>` : nothing}
        </div>` : html`<p class="tiny quiet">An admin can see what it would free, and run it at once.</p>`}
      </div>`;
  }

  #plan(plan) {
    if (isNothing(plan)) return html`<div class="note" data-tone="good" role="status"><ui-icon name="check"></ui-icon><div>There is nothing to free.</div></div>`;
    const { buckets } = plan;
    const byDataset = Map.groupBy(plan.versions, ({ name }) => name);
    const named = plan.versions.reduce((sum, version) => sum + version.bytes, 0);
    return html`
      <div class="stack-s" role="status"><strong>It would free ${plan.files ? `${bytes(plan.bytes)} in ${count(plan.files, "file")}` : "nothing on the disk"}</strong>
        <table class="compact"><thead><tr><th>Dataset</th><th>Versions</th><th class="number">Size</th></tr></thead><tbody>
          ${[...byDataset].map(([name, versions]) => html`<tr><td>${name}</td><td class="mono small quiet">${versions.map(({ version }) => version).join(", ")}</td><td class="number">${bytes(versions.reduce((sum, version) => sum + version.bytes, 0))}</td></tr>`)}
          ${plan.bytes > named ? html`<tr><td class="quiet" colspan="2">Contents that no version has any more</td><td class="number">${bytes(plan.bytes - named)}</td></tr>` : nothing}
          ${buckets.objects ? html`<tr><td class="quiet" colspan="2">In buckets, ${count(buckets.objects, "object")}</td><td class="number">${bytes(buckets.bytes)}</td></tr>` : nothing}
          ${buckets.uploads ? html`<tr><td class="quiet" colspan="2">In buckets, uploads that nobody goes on with</td><td class="number">${count(buckets.uploads, "upload")}</td></tr>` : nothing}
        </tbody></table></div>`;
  }

  async #run(dryRun) {
    this.busy = dryRun ? "look" : "clean";
    this.problem = null;
    try {
      const report = await api.clean({ dryRun });
      if (dryRun) this.plan = report;
      else {
        this.plan = null;
        toast(`${bytes(report.bytes)} were freed.`);
        this.last.load();
        this.dispatchEvent(new CustomEvent("cleaned"));
      }
    } catch (problem) {
      this.problem = problem;
    }
    this.busy = null;
  }
}

/** Says whether a clean-up would remove nothing, here and in buckets. */
function isNothing({ bytes, files, buckets }) {
  return !bytes && !files && !buckets.objects && !buckets.uploads;
}

reactive(StorageCleaning, ["plan", "busy", "problem"]);
customElements.define("storage-cleaning", StorageCleaning);
