// <root-file .root .path ?fixed>: one file: its facts, what it holds, and its text to be edited.
// Emits "close", and "changed" when its text was saved.
import { html, nothing } from "/html.js";
import { addresses, api } from "/api.js";
import { bytes } from "/format.js";
import { confirm } from "/components/confirm-dialog.js";
import { Element, reactive } from "/components/element.js";
import { openWorkload } from "/components/open-workload.js";
import { textOf } from "/components/preview-kinds.js";
import { Resource } from "/components/resource.js";
import { failed } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/file-preview.js";
import "/components/time-ago.js";

const EDITABLE_BYTES = 1024 * 1024;
const LOOK_MILLIS = 10_000;

class RootFile extends Element {
  editing = null; // { before, text, etag, problem, busy }

  start() {
    this.entry = new Resource(this, () => api.entry(this.root.id, { path: this.path }));
    this.every(LOOK_MILLIS, () => this.editing || this.entry.refresh());
  }

  view() {
    const place = `${this.root.id}/${this.path}`;
    if (place !== this.place) {
      this.place = place;
      this.editing = null;
      this.entry.reset();
    }
    return html`
      <div class="card-head">
        <strong class="mono file-path">${this.path}</strong>
        <button class="button small ghost icon-only" @click=${this.#close} aria-label="Close ${this.path}"><ui-icon name="x"></ui-icon></button>
      </div>
      ${this.entry.show((entry) => this.#file(entry))}`;
  }

  #file(entry) {
    if (this.editing) return this.#editor(entry);
    return html`
      <div class="file-facts">
        <span class="small quiet">${bytes(entry.bytes)} · changed <time-ago at=${entry.modifiedAt}></time-ago>${entry.executable ? " · executable" : ""}</span>
        <div class="row">
          <a class="button small" href=${addresses.content(this.root.id, entry, { download: true })} download><ui-icon name="download" size="s"></ui-icon>Download</a>
          ${this.root.notebook ? html`<button class="button small" @click=${() => openWorkload(this.root.notebook, { path: `lab/tree/${this.path.split("/").map(encodeURIComponent).join("/")}` })}><ui-icon name="external-link" size="s"></ui-icon>Open in JupyterLab</button>` : nothing}
          ${!this.hasAttribute("fixed") && entry.kind === "file" && entry.bytes <= EDITABLE_BYTES ? html`<button class="button small" @click=${() => this.#edit(entry)}><ui-icon name="pencil" size="s"></ui-icon>Edit as text</button>` : nothing}
        </div>
      </div>
      <file-preview .source=${this.root.source} .file=${entry}></file-preview>`;
  }

  async #edit(entry) {
    try {
      // An empty file has no range that could be asked for.
      const { content, etag } = entry.bytes ? await this.root.source.range(entry, 0, EDITABLE_BYTES) : { content: new Uint8Array(), etag: entry.etag };
      const text = textOf(content, true);
      if (text === null) return toast("It is not text that can be edited here.", "bad");
      this.editing = { before: text, text, etag: etag ?? entry.etag, problem: null, busy: false };
      this.update();
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
  }

  #editor() {
    const { text, before, problem, busy } = this.editing;
    const changedThere = problem?.status === 412;
    return html`
      <form class="file-editor" @submit=${this.#save}>
        <textarea class="mono" aria-label="Text of ${this.path}" .value=${text} spellcheck="false" autocapitalize="off" @input=${(event) => { this.editing.text = event.target.value; this.update(); }}></textarea>
        ${changedThere ? html`
          <div class="note" data-tone="bad" role="alert"><ui-icon name="circle-alert"></ui-icon><div class="grow"><strong>It was changed meanwhile</strong><div class="small soft">Somebody, or the notebook itself, saved it after you began. Nothing of theirs was overwritten.</div></div>
            <div class="row-tight"><button type="button" class="button small" @click=${this.#takeTheirs}>Take theirs</button><button type="button" class="button small danger" @click=${this.#takeMine}>Overwrite with mine</button></div></div>` : problem ? failed(problem) : nothing}
        <div class="row"><button class="button small primary" ?disabled=${busy || text === before}>${busy ? "Saving…" : "Save"}</button><button type="button" class="button small ghost" @click=${this.#leave}>${text === before ? "Done" : "Discard"}</button></div>
      </form>`;
  }

  #save = async (event) => {
    event?.preventDefault();
    const { editing } = this;
    editing.busy = true;
    editing.problem = null;
    this.update();
    try {
      const saved = await api.putEntry(this.root.id, this.path, new Blob([editing.text]), { ifMatch: editing.etag });
      Object.assign(editing, { before: editing.text, etag: saved.etag });
      toast(`${saved.name} was saved.`);
      this.dispatchEvent(new CustomEvent("changed"));
    } catch (problem) {
      editing.problem = problem;
    }
    editing.busy = false;
    this.update();
  };

  #takeTheirs = async () => {
    this.editing = null;
    await this.entry.load();
    if (this.entry.value) await this.#edit(this.entry.value);
  };

  #takeMine = async () => {
    await this.entry.load();
    this.editing.etag = this.entry.value?.etag;
    await this.#save();
  };

  async #mayLeave() {
    if (!this.editing || this.editing.text === this.editing.before) return true;
    return confirm({ title: "Discard your changes?", text: `What you changed in ${this.path} is not saved.`, action: "Discard" });
  }

  #leave = async () => {
    if (!(await this.#mayLeave())) return;
    this.editing = null;
    this.entry.load();
  };

  #close = async () => {
    if (await this.#mayLeave()) this.dispatchEvent(new CustomEvent("close"));
  };
}

reactive(RootFile, ["root", "path"]);
customElements.define("root-file", RootFile);
