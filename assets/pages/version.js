// One version: its files, what changed against another, and where it comes from.
import { html, nothing } from "/html.js";
import { addresses, api } from "/api.js";
import { bytes, count, moment, userName } from "/format.js";
import { go, setQuery } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { deleteUnlessUsed } from "/components/delete-used.js";
import { askForm, field } from "/components/form-dialog.js";
import { askImport } from "/components/import-dialog.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { tensorboardButton } from "/components/tensorboard-dialog.js";
import { toast } from "/components/toast-list.js";
import { uploadQueue } from "/components/upload-queue.js";
import { draftTarget } from "/components/upload-targets.js";
import "/components/copy-button.js";
import "/components/state-chip.js";
import "/components/time-ago.js";
import "/components/version-diff.js";
import "/pages/version-about.js";
import "/pages/version-files.js";

const TABS = { files: "Files", changes: "Changes", about: "About" };
const LISTED_VERSIONS = 200;

export default class VersionPage extends Page {
  start() {
    this.heading = "Version";
    const { id, version } = this.route.params;
    this.home = new Resource(this, () => api.dataset(id));
    this.version = new Resource(this, () => api.version(id, version));
    this.versions = new Resource(this, () => api.versions(id, { limit: LISTED_VERSIONS }));
    [this.home, this.version, this.versions].forEach((resource) => resource.load());
    this.watch(["version", "dataset", "import"], (change) => {
      if (change.dataset && this.home.value && change.dataset !== this.home.value.id) return;
      [this.home, this.version, this.versions].forEach((resource) => resource.refresh());
    });
  }

  view() {
    if (this.home.problem && !this.home.value) return this.home.show(() => nothing);
    return this.version.show((version) => this.home.show((dataset) => this.#version(dataset, version)));
  }

  #version(dataset, version) {
    this.heading = `${dataset.name}:${version.version}`;
    const draft = version.state === "uncommitted";
    const tab = TABS[this.route.params.tab] ? this.route.params.tab : "files";
    const address = `/datasets/${dataset.id}/versions/${this.route.params.version}`;
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/datasets">Datasets</a><ui-icon name="chevron-right" size="s"></ui-icon><a href="/datasets/${dataset.id}">${dataset.name}</a><ui-icon name="chevron-right" size="s"></ui-icon></nav>
      <header class="page-head">
        <div class="stack-s">
          <div class="job-title"><h1 class="mono">${version.version}</h1><state-chip state=${version.state} role="status"></state-chip>${version.version === dataset.latest ? html`<span class="tag accent">latest</span>` : nothing}${version.tags.map((tag) => html`<span class="tag">${tag}</span>`)}</div>
          ${version.message ? html`<p class="described">${version.message}</p>` : nothing}
          <div class="facts-line">
            <span><ui-icon name="file" size="s"></ui-icon>${count(version.files ?? 0, "file")}, ${bytes(version.bytes)}</span>
            <span title="Made by"><ui-icon name="user" size="s"></ui-icon>${userName(version.user)}</span>
            <span title=${moment(version.committedAt ?? version.createdAt)}><ui-icon name="clock" size="s"></ui-icon>${draft ? html`begun <time-ago at=${version.createdAt}></time-ago>` : html`committed <time-ago at=${version.committedAt}></time-ago>`}</span>
            <span><code>${version.reference}</code><copy-button icon-only label="Copy the reference" .text=${version.reference}></copy-button></span>
          </div>
        </div>
        <div class="actions">
          ${draft ? html`<button class="button" @click=${() => this.#import(dataset, version)}><ui-icon name="arrow-down-to-line" size="s"></ui-icon>Import</button>` : nothing}
          ${draft ? nothing : html`${tensorboardButton({ kind: "dataset", id: dataset.id, title: `${dataset.name}:${version.version}`, ref: version.reference })}<a class="button" href=${addresses.versionArchive(dataset.id, version.version, "tar")} download><ui-icon name="download" size="s"></ui-icon>tar</a><a class="button" href=${addresses.versionArchive(dataset.id, version.version, "zip")} download><ui-icon name="download" size="s"></ui-icon>zip</a>`}
          <button class="button" @click=${() => this.#edit(dataset, version)}><ui-icon name="pencil" size="s"></ui-icon>Edit</button>
          <button class="button danger" @click=${() => this.#delete(dataset, version)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>
          ${draft ? html`<button class="button primary" @click=${() => this.#commit(dataset, version)}><ui-icon name="check" size="s"></ui-icon>Commit</button>` : nothing}
        </div>
      </header>
      <div class="stack">
        ${this.#notes(version)}
        <nav class="tabs" aria-label="Parts of the version">${Object.entries(TABS).map(([name, title]) => html`<a href="${address}${name === "files" ? "" : `/${name}`}" aria-current=${name === tab ? "page" : nothing}>${title}</a>`)}</nav>
        ${this.#tab(tab, dataset, version)}
      </div>`;
  }

  #notes(version) {
    return html`
      ${version.damagedAt ? html`<div class="note" data-tone="bad" role="alert"><ui-icon name="triangle-alert"></ui-icon><div><strong>Files of this version are damaged</strong><div class="small soft">A check <time-ago at=${version.damagedAt}></time-ago> found contents that differ from their hash. New jobs are refused it. <a class="link" href="/storage">Storage</a> names the files; put them again into a new version, or restore the disk.</div></div></div>` : nothing}
      ${version.note ? html`<div class="note" data-tone="waiting"><ui-icon name="triangle-alert"></ui-icon><div class="small">${version.note}</div></div>` : nothing}
      ${version.state === "uncommitted" ? html`<div class="note"><ui-icon name="git-commit-horizontal"></ui-icon><div class="small soft">This is a draft: files may come and go, and jobs do not see it. <b>Commit</b> makes it a version that never changes again.</div></div>` : nothing}`;
  }

  #tab(tab, dataset, version) {
    const query = this.route.query;
    if (tab === "changes") return html`<version-diff .home=${dataset} .version=${version} .versions=${this.versions.value?.items ?? []} .against=${query.get("against") ?? version.parent} @against=${(event) => setQuery({ against: event.detail })}></version-diff>`;
    if (tab === "about") return html`<version-about .home=${dataset} .version=${version}></version-about>`;
    return html`<version-files .home=${dataset} .version=${version} .path=${query.get("path")} .beginsWith=${query.get("prefix") ?? ""} @brought=${() => this.version.load()}></version-files>`;
  }

  async #import(dataset, version) {
    const admin = document.querySelector("app-shell").session?.scope === "admin";
    const begun = await askImport(dataset.id, version.version, { admin });
    if (!begun) return;
    toast("The import has begun.");
    this.querySelector("import-list")?.reload();
  }

  async #edit(dataset, version) {
    const changed = await askForm({
      title: `Edit ${version.version}`,
      text: "What is said about a version may change; its files may not.",
      action: "Save",
      body: ({ invalid }) => html`
        ${field("version-message", "Message", html`<textarea id="version-message" name="message" aria-invalid=${invalid("message")}>${version.message ?? ""}</textarea>`)}
        ${field("version-metadata", "Metadata", html`<textarea id="version-metadata" name="metadata" class="mono" spellcheck="false" aria-invalid=${invalid("metadata")}>${Object.entries(version.metadata ?? {}).map(([name, value]) => `${name}: ${value}`).join("\n")}</textarea>`, "Facts of your own, such as a licence or a source. One a line, as name: value.")}`,
      submit: ({ message, metadata }) => api.changeVersion(dataset.id, version.version, { message: message.trim(), metadata: factsOf(metadata) }),
    });
    if (changed) this.version.load();
  }

  async #commit(dataset, version) {
    if (uploadQueue(draftTarget(dataset.id, version.version)).active) return toast("Files are still being sent. Commit when they are there.", "bad");
    const sure = await confirm({
      title: `Commit ${version.version}?`,
      text: `Its ${count(version.files ?? 0, "file")} (${bytes(version.bytes)}) are fixed for ever and it becomes the latest version, which jobs get by ${dataset.name}. To change something later, begin a new version from it.`,
      action: "Commit",
      keep: "Not yet",
      tone: "primary",
    });
    if (!sure) return;
    try {
      await api.commit(dataset.id, version.version);
      toast(`${version.version} is committed.`);
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    [this.home, this.version, this.versions].forEach((resource) => resource.load());
  }

  async #delete(dataset, version) {
    const gone = await deleteUnlessUsed({
      title: `Delete version ${version.version}?`,
      text: `${count(version.files ?? 0, "file")}, ${bytes(version.bytes)}. This cannot be undone.`,
      name: `Version ${version.version}`,
      remove: (force) => api.deleteVersion(dataset.id, version.version, force),
    });
    if (gone) go(`/datasets/${dataset.id}`, { replace: true });
  }
}

/** Lines of "name: value" as an object. A line without a name is told before anything is sent. */
function factsOf(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf(":");
      if (at < 1) throw { code: "bad_metadata", field: "metadata", detail: `“${line.trim()}” has no name. Write it as name: value.` };
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}

customElements.define("version-page", VersionPage);
