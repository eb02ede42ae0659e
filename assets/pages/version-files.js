// <version-files .home=${dataset} .version=${version} .path=${path} .beginsWith=${text}>: the tree, what is
// chosen in it, and on a draft what brings files in. What is shown is in the address.
import { html, nothing } from "/html.js";
import { addresses, api } from "/api.js";
import { fetchAsCurl } from "/format.js";
import { setQuery } from "/router.js";
import { Element, reactive } from "/components/element.js";
import { empty } from "/components/states.js";
import { TreeRows } from "/components/tree-rows.js";
import { uploadQueue } from "/components/upload-queue.js";
import { draftTarget } from "/components/upload-targets.js";
import "/components/file-details.js";
import "/components/file-tree.js";
import "/components/import-list.js";
import "/components/upload-panel.js";

const TYPING_MILLIS = 300;
const KEEP_UP_MILLIS = 800;

class VersionFiles extends Element {
  file = null;

  start() {
    this.onRemoved(() => this.rows?.close());
  }

  get draft() {
    return this.version.state === "uncommitted";
  }

  /** Files came or went. */
  refresh() {
    this.rows?.refresh();
    this.querySelector("import-list")?.reload();
  }

  view() {
    this.#follow();
    this.#keepUp();
    const { id } = this.home;
    const { version } = this.version;
    const none = this.beginsWith
      ? empty({ icon: "search", title: "No path begins with that", text: "Paths are compared letter by letter, from the top." })
      : empty({ icon: "folder-open", title: "No files", text: this.draft ? "Drop a folder above, import from somewhere, or use a terminal." : "This version was committed without files." });
    return html`
      ${this.draft ? html`
        <upload-panel .target=${draftTarget(id, version)} .curl=${uploadAsCurl(id, version)} @uploaded=${() => this.#brought()}></upload-panel>
        <import-list .datasetId=${id} .versionId=${version} @settled=${() => this.#brought()}></import-list>` : nothing}
      <div class="files-pane ${this.path ? "with-file" : ""}">
        <section class="card tree-card" aria-label="Files">
          <div class="card-head"><div class="search"><ui-icon name="search" size="s"></ui-icon><input type="search" data-search class="mono" placeholder="Path begins with…" aria-label="Path begins with" .value=${this.beginsWith ?? ""} spellcheck="false" @input=${this.#typed}><kbd aria-hidden="true">/</kbd></div></div>
          <file-tree .rows=${this.rows} .selected=${this.path} .none=${none} @pick=${(event) => this.#pick(event.detail)}></file-tree>
        </section>
        ${this.path ? html`<section class="card file-card" aria-label="Chosen file">${this.#chosen(id, version)}</section>` : nothing}
      </div>`;
  }

  #chosen(id, version) {
    if (this.missing) return empty({ icon: "file", title: "There is no such file here", text: this.path, actions: html`<button class="button small" @click=${() => setQuery({ path: null })}>Close</button>` });
    if (!this.file) return nothing;
    return html`<file-details .datasetId=${id} .versionId=${version} .file=${this.file} ?draft=${this.draft} @close=${() => setQuery({ path: null })} @deleted=${() => { setQuery({ path: null }); this.#brought(); }}></file-details>`;
  }

  /** Begins another tree when the filter changed, and finds the file that the address names. */
  #follow() {
    const filter = this.beginsWith ?? "";
    if (!this.rows || this.rows.root.prefix !== filter) {
      this.rows?.close();
      this.rows = new TreeRows(this.home.id, this.version.version, filter);
      const { rows } = this;
      rows.load().then(() => this.path && rows.reveal(this.path));
    }
    if (this.path === (this.file?.path ?? null) || this.path === this.sought) return;
    this.sought = this.path;
    this.file = null;
    this.missing = false;
    if (this.path) this.#find(this.path);
  }

  /** Shows what others put into the draft. Our own uploads say so themselves when they have ended. */
  #keepUp() {
    const totals = `${this.version.files}/${this.version.bytes}`;
    if (this.totals && this.totals !== totals && this.draft && !uploadQueue(draftTarget(this.home.id, this.version.version)).active) {
      clearTimeout(this.keepingUp);
      this.keepingUp = setTimeout(() => this.isConnected && this.rows.refresh(), KEEP_UP_MILLIS);
    }
    this.totals = totals;
  }

  async #find(path) {
    try {
      const { items } = await api.files(this.home.id, this.version.version, { prefix: path, recursive: true, limit: 1 });
      if (path !== this.path) return;
      this.file = items.find((item) => item.path === path) ?? null;
      this.missing = !this.file;
    } catch {
      this.missing = true;
    }
    this.update();
  }

  #pick(file) {
    this.file = file;
    this.sought = file.path;
    this.missing = false;
    setQuery({ path: file.path }, { replace: Boolean(this.path) });
  }

  #brought() {
    this.rows.refresh();
    this.dispatchEvent(new CustomEvent("brought"));
  }

  #typed = (event) => {
    const text = event.target.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => setQuery({ prefix: text }), TYPING_MILLIS);
  };
}

function uploadAsCurl(id, draft) {
  const version = addresses.version(id, draft);
  return `# one file\n${fetchAsCurl(`${version}/files/train/a.png`, { file: "a.png" })}\n\n# a folder as one stream\ntar -c -C my-folder . | ${fetchAsCurl(`${version}.tar`, { file: "-" })}`;
}

reactive(VersionFiles, ["home", "version", "path", "beginsWith"]);
customElements.define("version-files", VersionFiles);
