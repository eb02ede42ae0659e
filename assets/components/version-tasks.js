// Versions that the box makes of files of a notebook or of /storage, followed until they end and shown until they
// are put away. A new visit finds those that are under way.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { bytes, count } from "/format.js";
import { events } from "/events.js";
import { toast } from "/components/toast-list.js";
import "/components/state-chip.js";
import "/components/ui-icon.js";

const LOOK_MILLIS = 2000;
const ENDED = ["done", "failed", "cancelled"];

/** `onChange` is called when what is shown changes. */
export class VersionTasks {
  #imports = new Map();
  #timer = null;
  #closed = false;

  constructor(root, onChange) {
    Object.assign(this, { root, onChange });
    this.unwatch = events.watch(["import"], (change) => this.#imports.has(change.id) && this.#look());
    this.#find();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.unwatch();
  }

  async #find() {
    const { items } = await api.allImports({ root: this.root, live: true }).catch(() => ({ items: [] }));
    for (const item of items) this.follow(item);
  }

  follow(item) {
    if (this.#closed) return;
    this.#imports.set(item.id, item);
    this.#wait();
    this.onChange();
  }

  /** Progress comes with the stream; a look is the safety net where it is broken. */
  #wait() {
    clearTimeout(this.#timer);
    if (this.#running().length) this.#timer = setTimeout(() => this.#look(), LOOK_MILLIS);
  }

  #running() {
    return [...this.#imports.values()].filter(({ state }) => !ENDED.includes(state));
  }

  async #look() {
    for (const { id } of this.#running()) {
      try {
        const item = await api.import(id);
        if (this.#imports.has(id)) this.#imports.set(id, item);
      } catch (problem) {
        if (problem.status === 404) this.#imports.delete(id); // Its version was deleted.
      }
    }
    if (this.#closed) return;
    this.#wait();
    this.onChange();
  }

  async #cancel({ id }) {
    try {
      await api.cancelImport(id);
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
    this.#look();
  }

  #putAway({ id }) {
    this.#imports.delete(id);
    this.onChange();
  }

  view() {
    if (!this.#imports.size) return nothing;
    return html`<ul class="card task-list" aria-label="Dataset versions">${repeat(this.#imports.values(), ({ id }) => id, (item) => this.#item(item))}</ul>`;
  }

  #item(item) {
    const [dataset, version] = item.version.split(":");
    const address = `/datasets/${dataset}/versions/${version}`;
    const ended = ENDED.includes(item.state);
    const done = item.progress ? `${count(item.progress.doneFiles, "file")}, ${bytes(item.progress.doneBytes)}` : "";
    return html`
      <li class="small">
        <div class="spread"><span class="row-tight"><state-chip state=${item.state}></state-chip><span class="cut">Version <a class="link mono" href=${address}>${version}</a> of ${item.source.words}</span></span>
        <span class="row-tight quiet nowrap">${done}${ended
          ? html`${item.state === "done" ? html`<a class="button small" href=${address}>${item.commit ? "Open the version" : "Open the draft"}</a>` : nothing}<button class="button small ghost" aria-label="Put away version ${version}" @click=${() => this.#putAway(item)}>Put away</button>`
          : html`<button class="button small ghost" aria-label="Cancel version ${version}" @click=${() => this.#cancel(item)}>Cancel</button>`}</span></div>
        ${item.message ? html`<p class=${item.state === "failed" ? "wrong" : "soft"}>${item.message}</p>` : nothing}
        ${ended && item.state !== "done" ? html`<p class="quiet">Version ${version} is a draft: <a class="link" href=${address}>add to it, commit or delete it</a>.</p>` : nothing}
      </li>`;
  }
}
