// <notebook-data .notebook=${…}>: what it has beneath /datasets, where each stands, and what is wrong with the
// file that says so. Told of changes by the notebook's page through `changed()`.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { bytes } from "/format.js";
import { confirm } from "/components/confirm-dialog.js";
import { Element, reactive } from "/components/element.js";
import { askDataset, askS3 } from "/components/integration-dialogs.js";
import { isLive } from "/components/notebook-words.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/copy-button.js";
import "/components/meter-bar.js";
import "/components/state-chip.js";

class NotebookData extends Element {
  doing = null; // Name of what is being changed.

  start() {
    this.data = new Resource(this, () => api.integrations(this.notebook.id));
    this.data.load();
  }

  /** Somebody, or the session itself, changed something. */
  changed() {
    this.data?.refresh();
  }

  view() {
    return html`<div class="stack">${this.data.show((data) => html`${this.#problems(data)}${this.#all(data)}`)}</div>`;
  }

  #problems({ problems, file, items }) {
    if (!problems.length) return nothing;
    const stays = isLive(this.notebook) && items.some(({ origin, name }) => origin === "file" && problems.some((problem) => !problem.name || problem.name === name));
    return html`<div class="note" data-tone="bad" role="status"><ui-icon name="triangle-alert"></ui-icon><div>
      <strong>${file} is not right yet</strong>
      <ul class="small soft plain-list">${problems.map(({ name, message }) => html`<li>${name ? html`<code>${name}</code>: ` : nothing}${message}</li>`)}</ul>
      ${stays ? html`<div class="small soft">Until it is, the session keeps what it says below.</div>` : nothing}
      <div class="small"><a class="link" href=${this.#fileLink(file)}>Open the file</a>${problems.filter(({ name }) => name).map(({ name }) => html` · <button class="link" @click=${() => this.#remove(name, "the file")}>Remove ${name}</button>`)}</div>
    </div></div>`;
  }

  #fileLink(file) {
    const path = file.slice(0, file.lastIndexOf("/"));
    return `/notebooks/${this.notebook.id}?path=${encodeURIComponent(path)}&file=${encodeURIComponent(file)}`;
  }

  #all({ items, file, hasFile, s3Sources }) {
    return html`
      <div class="card">
        <div class="card-head"><div><strong>Beneath <code>/datasets</code></strong><div class="small quiet">${hasFile ? html`Kept in <a class="link mono" href=${this.#fileLink(file)}>${file}</a>, which may be edited as well and goes along with the files.` : html`What you add is kept in <code>${file}</code> among the notebook's files.`}</div></div>
          <div class="row"><button class="button small" @click=${this.#addDataset}><ui-icon name="plus" size="s"></ui-icon>Add a dataset</button><button class="button small" ?disabled=${!s3Sources} title=${s3Sources ? nothing : "This box mounts no places on S3 (s3_sources.enabled)"} @click=${this.#addS3}><ui-icon name="plus" size="s"></ui-icon>Add an S3 source</button></div></div>
        ${items.length ? this.#table(items) : empty({ icon: "database", title: "No data yet", text: "Add a version of a dataset, and it is at /datasets/NAME: at once where the notebook runs, and in every later session. Public datasets of this box are here by themselves." })}
      </div>
      ${isLive(this.notebook) ? html`<p class="small quiet">What is added or removed is so in the session within seconds; nothing has to be restarted. What programs have open stays open.</p>` : nothing}`;
  }

  #table(items) {
    return html`<div class="table-wrap"><table>
      <thead><tr><th>Where</th><th>What</th><th>State</th><th class="number hide-narrow">Size</th><th class="number"><span class="visually-hidden">What can be done</span></th></tr></thead>
      <tbody>${repeat(items, ({ name }) => name, (item) => html`<tr data-name=${item.name}>
        <td><div class="where"><code>${item.path}</code><copy-button icon-only label="Copy the path" .text=${item.path}></copy-button></div>${ORIGIN[item.origin] ? html`<div class="tiny quiet">${ORIGIN[item.origin]}</div>` : nothing}</td>
        <td>${item.s3 ? this.#s3(item.s3) : this.#version(item)}</td>
        <td>${this.#state(item)}</td>
        <td class="number soft hide-narrow">${item.version?.bytes === null || item.version?.bytes === undefined ? "–" : html`${bytes(item.version.bytes)}<div class="tiny quiet">${item.version.files === 1 ? "1 file" : `${item.version.files} files`}</div>`}</td>
        <td class="number">${this.#actions(item)}</td>
      </tr>`)}</tbody></table></div>`;
  }

  #version({ ref, version }) {
    if (!version) return html`<code>${ref}</code>`;
    const { dataset, datasetName, id, deleted } = version;
    const name = deleted ? html`${datasetName}` : html`<a class="link" href="/datasets/${dataset}">${datasetName}</a>`;
    return html`<div>${name} <span class="quiet">at</span> ${deleted ? html`<code>${id}</code>` : html`<a class="link mono" href="/datasets/${dataset}/versions/${id}">${id}</a>`}${version.tags.map((tag) => html` <span class="tag">${tag}</span>`)}</div><div class="tiny quiet">asked for as <code>${ref}</code></div>`;
  }

  #s3({ url, region, endpoint, readOnly }) {
    return html`<code>${url}</code><div class="tiny quiet">${endpoint ?? `AWS ${region}`}${readOnly ? " · only to be read" : " · read and written"}</div>`;
  }

  #state({ state, message, progress }) {
    return html`<state-chip state=${WORD[state] ?? state}></state-chip>
      ${progress ? html`<meter-bar .label=${"bringing it here"} .text=${`${bytes(progress.doneBytes)} of ${bytes(progress.totalBytes)}`} .value=${progress.totalBytes ? progress.doneBytes / progress.totalBytes : 0}></meter-bar>` : nothing}
      ${message ? html`<div class="small soft said">${message}</div>` : nothing}`;
  }

  #actions(item) {
    const busy = this.doing !== null;
    const { version } = item;
    return html`
      ${version?.newer && !version.deleted && item.origin !== "public" ? html`<button class="button small" ?disabled=${busy} title="The newest version is ${version.newer}" @click=${() => this.#newest(item)}>Move to ${version.newer}</button>` : nothing}
      ${item.origin === "public" ? nothing : html`<button class="button small ghost icon-only" ?disabled=${busy} aria-label="Remove ${item.path}" title="Remove" @click=${() => this.#remove(item.name, item.path)}><ui-icon name="x"></ui-icon></button>`}`;
  }

  #addDataset = async () => {
    this.#taken(await askDataset(this.notebook));
  };

  #addS3 = async () => {
    this.#taken(await askS3(this.notebook));
  };

  /** One that was asked for as `latest` stays so and is looked up anew; any other is pinned to the newest. */
  #newest(item) {
    const [dataset, version] = item.ref.split(":");
    const ref = version === "latest" ? item.ref : `${dataset}:${item.version.newer}`;
    return this.#ask(item.name, () => api.putIntegration(this.notebook.id, item.name, { type: "dataset", ref }), `${item.path} is ${item.version.newer} now.`);
  }

  async #remove(name, what) {
    const sure = await confirm({ title: `Remove ${name}?`, text: `It goes from ${what === "the file" ? what : `${what}, also in the session that runs`}. Nothing of the dataset or the bucket is deleted.`, action: "Remove" });
    if (sure) await this.#ask(name, () => api.removeIntegration(this.notebook.id, name), `${name} was removed.`);
  }

  async #ask(name, action, done) {
    this.doing = name;
    try {
      this.#taken(await action());
      toast(done);
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
    this.doing = null;
  }

  #taken(data) {
    if (!data) return;
    this.data.value = data;
    this.update();
    this.data.refresh();
  }
}

const WORD = { not_running: "not running" };
const ORIGIN = { public: "public: in every notebook", settings: "from the notebook's settings" };

reactive(NotebookData, ["notebook", "doing"]);
customElements.define("notebook-data", NotebookData);
