// <import-list .datasetId .versionId>: what is being fetched into a draft, how far it is, and how it ended.
// Emits "settled" when one has ended.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { bytes, count, integer } from "/format.js";
import { events } from "/events.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { toast } from "/components/toast-list.js";
import "/components/meter-bar.js";
import "/components/state-chip.js";
import "/components/time-ago.js";

const POLL_MILLIS = 2000;
const ENDED = ["done", "failed", "cancelled"];

class ImportList extends Element {
  start() {
    this.imports = new Resource(this, () => api.imports(this.datasetId, this.versionId));
    this.imports.load();
    this.onRemoved(events.watch(["import"], () => this.imports.refresh()));
    // Progress comes with the stream; a poll is the safety net where it is broken.
    this.every(POLL_MILLIS, () => this.#running().length && this.imports.load());
  }

  reload() {
    this.imports.load();
  }

  #running() {
    return (this.imports.value?.items ?? []).filter(({ state }) => !ENDED.includes(state));
  }

  view() {
    const running = this.#running().length;
    if (this.wasRunning && running < this.wasRunning) this.dispatchEvent(new CustomEvent("settled"));
    this.wasRunning = running;
    const items = this.imports.value?.items ?? [];
    if (!items.length) return nothing;
    return html`<section class="card" aria-label="Imports"><ul class="work-list import-list">${repeat(items, ({ id }) => id, (item) => this.#item(item))}</ul></section>`;
  }

  #item(item) {
    const running = !ENDED.includes(item.state);
    const { doneFiles, doneBytes, totalFiles, totalBytes } = item.progress ?? {};
    return html`
      <li>
        <span class="row-tight"><state-chip state=${item.state}></state-chip><span class="cut">${item.source.words}</span>${item.prefix ? html`<span class="tiny quiet nowrap">into <code>${item.prefix}</code></span>` : nothing}</span>
        <span class="row-tight">${running ? html`<button class="button small" @click=${() => this.#cancel(item)} aria-label="Cancel the import of ${item.source.words}">Cancel</button>` : html`<span class="small quiet"><time-ago at=${item.finishedAt}></time-ago></span>`}</span>
        ${running && item.progress ? html`<meter-bar class="whole" .label=${totalFiles ? `${integer(doneFiles)} of ${count(totalFiles, "file")}` : count(doneFiles, "file")} .text=${totalBytes ? `${bytes(doneBytes)} of ${bytes(totalBytes)}` : bytes(doneBytes)} .value=${totalBytes ? doneBytes / totalBytes : 0}></meter-bar>` : nothing}
        ${item.message ? html`<span class="whole small ${item.state === "failed" ? "wrong" : "soft"}">${item.message}${item.state === "failed" ? " It can be begun again; nothing is lost by that." : ""}</span>` : nothing}
      </li>`;
  }

  async #cancel(item) {
    try {
      await api.cancelImport(item.id);
      toast("The import is being stopped. What it has fetched stays in the draft.");
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.imports.load();
  }
}

reactive(ImportList, ["datasetId", "versionId"]);
customElements.define("import-list", ImportList);
