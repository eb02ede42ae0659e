// <storage-integrity ?admin>: the last check of every content against its hash, and a new one.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { bytes, count } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { failed } from "/components/states.js";
import "/components/meter-bar.js";
import "/components/time-ago.js";

const POLL_MILLIS = 1500;
const SHARES = [[100, "everything"], [10, "a tenth"], [1, "a hundredth"]];
const SHOWN_PATHS = 5;

class StorageIntegrity extends Element {
  percent = 100;

  start() {
    this.check = new Resource(this, api.integrity);
    this.check.load();
    this.every(POLL_MILLIS, () => this.check.value?.running && this.check.load());
  }

  view() {
    const admin = this.hasAttribute("admin");
    return html`
      <div class="card card-body stack">
        <p class="small quiet">A check reads files from the disk again and compares them with the hash they are stored under. Versions with a damaged file are refused to new jobs.</p>
        ${this.check.show((check) => this.#state(check))}
        ${this.problem ? failed(this.problem) : nothing}
        ${admin && !this.check.value?.running ? html`<form class="row" @submit=${this.#begin}>
          <button class="button"><ui-icon name="shield-check" size="s"></ui-icon>Check now</button>
          <select class="narrow-select" aria-label="How much to check" @change=${(event) => (this.percent = Number(event.target.value))}>${SHARES.map(([percent, words]) => html`<option value=${percent}>${words}</option>`)}</select>
        </form>` : nothing}
      </div>`;
  }

  #state(check) {
    if (!check) return html`<p class="small">Nothing was checked yet.</p>`;
    const damaged = check.damaged ?? [];
    const mended = check.mended ?? [];
    return html`
      ${check.running ? html`<meter-bar .label=${`Checking, ${count(check.checkedFiles, "file")} so far`} .text=${`${bytes(check.doneBytes)} of ${bytes(check.totalBytes)}`} .value=${check.totalBytes ? check.doneBytes / check.totalBytes : 0}></meter-bar>`
      : html`<div class="note" data-tone=${damaged.length ? "bad" : check.finishedAt ? "good" : "waiting"} role="status"><ui-icon name=${damaged.length || !check.finishedAt ? "triangle-alert" : "check"}></ui-icon><div><strong>${damaged.length ? `${count(damaged.length, "damaged file")}` : check.finishedAt ? "All that was read is sound" : "The last check did not get to its end"}</strong><div class="small soft">${count(check.checkedFiles, "file")}, ${bytes(check.doneBytes)}, ${check.finishedAt ? html`checked <time-ago at=${check.finishedAt}></time-ago>` : html`begun <time-ago at=${check.startedAt}></time-ago>`}</div></div></div>`}
      ${damaged.length ? html`<ul class="damaged-list">${damaged.map((item) => this.#damaged(item))}</ul>` : nothing}
      ${mended.length ? this.#mended(mended, check) : nothing}`;
  }

  #mended(versions, { finishedAt, startedAt }) {
    const files = versions.reduce((sum, version) => sum + version.files, 0);
    return html`
      <details class="mended"><summary class="small">${count(files, "file")} whole again in ${count(versions.length, "version")}, mended <time-ago at=${finishedAt ?? startedAt}></time-ago></summary>
        <p class="small quiet">They had been damaged. Their bytes came again, sent into any version or read from the bucket of their own, and were put back.</p>
        <ul class="mended-list">${versions.map(({ dataset, name, version, files: whole }) => html`<li class="spread small"><a class="link cut" href="/datasets/${dataset}/versions/${version}">${name}:${version}</a><span class="quiet nowrap">${count(whole, "file")}</span></li>`)}</ul>
      </details>`;
  }

  #damaged({ blake3, bytes: size, foundAt, versions }) {
    return html`
      <li><div class="spread small"><code class="cut" title=${blake3}>${blake3.slice(0, 16)}…</code><span class="quiet nowrap">${bytes(size)}, found <time-ago at=${foundAt}></time-ago></span></div>
        ${versions.map(({ dataset, name, version, paths }) => html`<div class="small"><a class="link" href="/datasets/${dataset}/versions/${version}">${name}:${version}</a> <span class="mono soft">${paths.slice(0, SHOWN_PATHS).join(", ")}</span>${paths.length > SHOWN_PATHS ? html`<span class="quiet"> and ${paths.length - SHOWN_PATHS} more</span>` : nothing}</div>`)}
      </li>`;
  }

  #begin = async (event) => {
    event.preventDefault();
    this.problem = null;
    try {
      await api.startIntegrityCheck({ percent: this.percent });
    } catch (problem) {
      this.problem = problem;
    }
    this.check.load();
  };
}

reactive(StorageIntegrity, ["problem"]);
customElements.define("storage-integrity", StorageIntegrity);
