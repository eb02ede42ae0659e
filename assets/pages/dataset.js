// One dataset: its versions as a timeline, where they come from, and how a job reads them.
import { html, nothing } from "/html.js";
import { addresses, api } from "/api.js";
import { bytes, count, moment, postAsCurl, userName } from "/format.js";
import { go } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { deleteUnlessUsed } from "/components/delete-used.js";
import { askForm, field } from "/components/form-dialog.js";
import { Page } from "/components/page.js";
import { providerIcon } from "/components/provider-words.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/code-block.js";
import "/components/lineage-graph.js";
import "/components/version-timeline.js";

const PAGE = 50;

export default class DatasetPage extends Page {
  pages = 1;

  start() {
    this.heading = "Dataset";
    this.id = this.route.params.id;
    this.home = new Resource(this, () => api.dataset(this.id));
    this.versions = new Resource(this, () => this.#fetchVersions());
    this.lineage = new Resource(this, () => api.lineage(this.id));
    this.#reload();
    this.watch(["job"], () => this.lineage.refresh());
    this.watch(["dataset", "version"], (change) => {
      const mine = this.home.value?.id;
      if (change.kind === "dataset" && change.change === "deleted" && change.id === mine) return go("/datasets", { replace: true });
      if (change.dataset && mine && change.dataset !== mine) return;
      [this.home, this.versions, this.lineage].forEach((resource) => resource.refresh());
    });
  }

  async #fetchVersions() {
    const items = [];
    let next = null;
    for (let i = 0; i < this.pages; i += 1) {
      const page = await api.versions(this.id, { limit: PAGE, cursor: next });
      items.push(...page.items);
      next = page.next;
      if (!next) break;
    }
    return { items, next };
  }

  #reload = () => [this.home, this.versions, this.lineage].forEach((resource) => resource.load());

  view() {
    return this.home.show((dataset) => this.#dataset(dataset));
  }

  #dataset(dataset) {
    this.heading = dataset.name;
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/datasets">Datasets</a><ui-icon name="chevron-right" size="s"></ui-icon></nav>
      <header class="page-head">
        <div>
          <div class="job-title"><h1>${dataset.name}</h1>${dataset.public ? html`<span class="tag accent">public</span>` : nothing}</div>
          ${dataset.description ? html`<p class="described">${dataset.description}</p>` : nothing}
          <div class="facts-line head-facts">
            <span title="Stored on"><ui-icon name=${providerIcon(dataset.storageProvider.type)} size="s"></ui-icon>${dataset.storageProvider.name}</span>
            <span><ui-icon name="layers" size="s"></ui-icon>${count(dataset.versions, "version")}, ${bytes(dataset.bytes)}</span>
            <span title="Made by"><ui-icon name="user" size="s"></ui-icon>${userName(dataset.user)}</span>
            <span title=${moment(dataset.createdAt)}><ui-icon name="clock" size="s"></ui-icon>made <time-ago at=${dataset.createdAt}></time-ago></span>
            <code class="quiet">${dataset.id}</code>
          </div>
        </div>
        <div class="actions">
          <button class="button" @click=${() => this.#edit(dataset)}><ui-icon name="pencil" size="s"></ui-icon>Edit</button>
          ${this.#publishButton(dataset)}
          <button class="button danger" @click=${() => this.#delete(dataset)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>
          <button class="button primary" @click=${() => this.#newVersion(dataset)}><ui-icon name="plus"></ui-icon>New version</button>
        </div>
      </header>
      <div class="dataset-page">
        <section class="section" aria-labelledby="versions-title">
          <div class="section-head"><h2 id="versions-title">Versions</h2></div>
          ${this.versions.show(({ items, next }) => (items.length ? this.#timeline(dataset, items, next) : html`<div class="card">${this.#noVersions(dataset)}</div>`))}
        </section>
        <aside class="section" aria-labelledby="use-title">
          <div class="section-head"><h2 id="use-title">Use it in a job</h2></div>
          ${this.#use(dataset)}
        </aside>
      </div>
      <section class="section" aria-labelledby="lineage-title">
        <div class="section-head"><h2 id="lineage-title">Lineage</h2></div>
        <div class="card card-body">${this.lineage.show((graph) => (graph.nodes.length ? html`<lineage-graph .graph=${graph} .datasetId=${dataset.id}></lineage-graph>` : empty({ icon: "git-branch", title: "No lineage yet", text: "Which job made a version, and which jobs read it, is drawn here." })))}</div>
      </section>`;
  }

  #publishButton(dataset) {
    if (document.querySelector("app-shell").session?.scope !== "admin" || dataset.storageProvider.type !== "managed") return nothing;
    return html`<button class="button" @click=${() => this.#publish(dataset)}><ui-icon name=${dataset.public ? "lock" : "globe"} size="s"></ui-icon>${dataset.public ? "Make private" : "Publish"}</button>`;
  }

  #timeline(dataset, items, next) {
    return html`
      <version-timeline .home=${dataset} .versions=${items} @changed=${this.#reload} @start-from=${(event) => this.#newVersion(dataset, event.detail)}></version-timeline>
      ${next ? html`<div class="more"><button class="button small" @click=${() => { this.pages += 1; this.versions.load(); }}>Show older versions</button></div>` : nothing}`;
  }

  #noVersions(dataset) {
    return html`
      ${empty({ icon: "git-commit-horizontal", title: "No versions yet", text: "A version begins as a draft. Put files into it, then commit it: from then on it never changes.", actions: html`<button class="button primary" @click=${() => this.#newVersion(dataset)}>Begin the first version</button>` })}
      <div class="card-body stack-s"><span class="small quiet">From a terminal, a folder as one stream:</span><code-block label="First version as curl" .text=${firstVersionAsCurl(dataset)}></code-block></div>`;
  }

  #use(dataset) {
    const reference = `${dataset.public ? "gradient/" : ""}${dataset.name}`;
    const spec = { image: "python:3.12-slim", command: `ls -l /inputs/${dataset.name}`, datasets: [{ ref: reference, name: dataset.name }] };
    return html`
      <div class="card card-body stack">
        <p class="small quiet"><code>${reference}</code> means the latest version when the job is submitted; <code>${reference}:TAG</code> or <code>${reference}:VERSION</code> another. It is read-only under <code>/inputs/${dataset.name}</code>.</p>
        <code-block label="Job with this dataset as JSON" .text=${`{\n  "datasets": ${JSON.stringify(spec.datasets)},\n  "outputs": ${JSON.stringify([{ ref: dataset.name, name: "result" }])}\n}`}></code-block>
        <p class="small quiet">An output is what the job leaves under <code>/outputs/result</code>; when it succeeds, that becomes a new version.</p>
        <code-block label="Job with this dataset as curl" .text=${postAsCurl(addresses.jobs(), spec)}></code-block>
        ${dataset.latest ? html`<a class="button" href="/jobs/new?dataset=${encodeURIComponent(reference)}"><ui-icon name="play" size="s"></ui-icon>New job with it</a>` : nothing}
      </div>`;
  }

  async #edit(dataset) {
    const changed = await askForm({
      title: `Edit ${dataset.name}`,
      action: "Save",
      body: ({ invalid }) => html`
        ${field("edit-name", "Name", html`<input id="edit-name" name="name" class="mono" value=${dataset.name} required autocomplete="off" spellcheck="false" aria-invalid=${invalid("name")}>`, "References by the old name end; those by the id go on.")}
        ${field("edit-description", "Description", html`<textarea id="edit-description" name="description">${dataset.description ?? ""}</textarea>`)}`,
      submit: ({ name, description }) => api.changeDataset(dataset.id, { name: name.trim(), description: description.trim() }),
    });
    if (!changed) return;
    if (this.id === dataset.id) this.#reload();
    else go(`/datasets/${dataset.id}`, { replace: true });
  }

  async #publish(dataset) {
    const sure = await confirm({
      title: dataset.public ? `Make ${dataset.name} private?` : `Publish ${dataset.name}?`,
      text: dataset.public ? "Jobs submitted from now on no longer find it under /datasets. Running jobs keep it." : `Every job of every team on this box will read its latest version under /datasets/${dataset.name}.`,
      action: dataset.public ? "Make private" : "Publish",
      keep: "Leave it",
      tone: "primary",
    });
    if (!sure) return;
    try {
      await api.changeDataset(dataset.id, { public: !dataset.public });
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.home.load();
  }

  async #delete(dataset) {
    const gone = await deleteUnlessUsed({
      title: `Delete ${dataset.name}?`,
      text: `All ${count(dataset.versions, "version")} of it go, ${bytes(dataset.bytes)} in total. This cannot be undone.`,
      name: dataset.name,
      remove: (force) => api.deleteDataset(dataset.id, force),
    });
    if (gone) go("/datasets", { replace: true });
  }

  async #newVersion(dataset, parent = dataset.latest) {
    const committed = (this.versions.value?.items ?? []).filter(({ state }) => state === "committed");
    const made = await askForm({
      title: "New version",
      text: "It begins as a draft that takes files until it is committed.",
      action: "Begin",
      body: () => html`
        ${field("version-parent", "Begins", html`<select id="version-parent" name="parent"><option value="">empty</option>${committed.map(({ version, tags, message }) => html`<option value=${version} ?selected=${version === parent}>with the files of ${version}${tags.length ? ` (${tags.join(", ")})` : ""}${message ? `: ${message.slice(0, 40)}` : ""}</option>`)}</select>`, "Files of a parent are not copied: add, replace and delete on top of them.")}
        ${field("version-message", "Message", html`<input id="version-message" name="message" placeholder="What is new" autofocus autocomplete="off">`)}`,
      submit: ({ parent: from, message }) => api.createVersion(dataset.id, { ...(from ? { parent: from } : {}), ...(message.trim() ? { message: message.trim() } : {}) }),
    });
    if (made) go(`/datasets/${dataset.id}/versions/${made.version}`);
  }
}

function firstVersionAsCurl(dataset) {
  const versions = `${addresses.dataset(dataset.id)}/versions`;
  return `V=$(${postAsCurl(versions, {})} | jq -r .version)
tar -c -C my-folder . | curl -fsS -T - "${versions}/$V.tar" \\
  -H "Authorization: Bearer $GRADIENTD_KEY"
curl -fsS -X POST "${versions}/$V/commit" \\
  -H "Authorization: Bearer $GRADIENTD_KEY"`;
}

customElements.define("dataset-page", DatasetPage);
