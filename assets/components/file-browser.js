// <file-browser .root=${…} .path=${folder} .file=${path} ?fixed>: files that are looked at, brought, taken
// and changed, whether or not anything runs. What is shown is in the address; `fixed` only looks.
import { html, nothing, repeat } from "/html.js";
import { addresses, api } from "/api.js";
import { bytes, count, fetchAsCurl } from "/format.js";
import { setQuery } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { Element, reactive } from "/components/element.js";
import { askName } from "/components/file-dialogs.js";
import { copyName, join, parentOf } from "/components/file-root.js";
import { FileTasks } from "/components/file-tasks.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { tensorboardButton } from "/components/tensorboard-dialog.js";
import { toast } from "/components/toast-list.js";
import { droppedFiles } from "/components/upload-files.js";
import { uploadQueue } from "/components/upload-queue.js";
import { rootTarget } from "/components/upload-targets.js";
import { askVersion } from "/components/version-dialog.js";
import { VersionTasks } from "/components/version-tasks.js";
import "/components/meter-bar.js";
import "/components/root-file.js";
import "/components/time-ago.js";
import "/components/ui-icon.js";
import "/components/upload-panel.js";

const PAGE = 200;
const LOOK_MILLIS = 10_000; // A session changes files without telling.
const ICONS = { directory: "folder", link: "link", file: "file", other: "circle-help" };

class FileBrowser extends Element {
  pages = 1;
  chosen = new Set();
  uploading = false;

  start() {
    this.listing = new Resource(this, () => this.#fetch());
    this.tasks = new FileTasks(() => this.update(), () => this.listing.refresh());
    this.versions = new VersionTasks(this.root.id, () => this.update());
    this.onRemoved(() => (this.tasks.close(), this.versions.close()));
    this.every(LOOK_MILLIS, () => this.listing.refresh());
  }

  async #fetch() {
    const { id } = this.root;
    const items = [];
    let next = null;
    for (let i = 0; i < this.pages; i += 1) {
      const page = await api.entries(id, { path: this.path }, { limit: PAGE, cursor: i === 0 ? null : next });
      items.push(...page.items);
      next = page.next;
      if (!next) break;
    }
    return { items, next };
  }

  get fixed() {
    return this.hasAttribute("fixed");
  }

  /** The entries that are marked and still there. */
  get marked() {
    return (this.listing.value?.items ?? []).filter(({ path }) => this.chosen.has(path));
  }

  view() {
    const place = `${this.root.id}/${this.path}`;
    if (place !== this.place) {
      this.place = place;
      this.pages = 1;
      this.chosen.clear();
      this.listing.reset();
    } else if (this.open !== this.root.notebook) {
      this.listing.refresh(); // A session that ended has left what it wrote last.
    }
    this.open = this.root.notebook;
    return html`
      ${this.uploading && !this.fixed ? html`<upload-panel .target=${rootTarget(this.root.id)} .into=${this.path} .curl=${this.#uploadAsCurl()} @uploaded=${() => this.listing.load()}></upload-panel>` : nothing}
      ${this.tasks.view()} ${this.versions.view()}
      <div class="files-pane ${this.file ? "with-file" : ""}">
        <section class="card folder-card" aria-label="Files" @dragover=${this.#over} @dragleave=${this.#out} @drop=${this.#dropped}>
          <div class="card-head">${this.#crumbs()}${this.#tools()}</div>
          ${this.marked.length ? this.#markedBar(this.marked) : nothing}
          ${this.listing.show(({ items, next }) => this.#table(items, next))}
        </section>
        ${this.file ? html`<section class="card file-card" aria-label="Chosen file"><root-file .root=${this.root} .path=${this.file} ?fixed=${this.fixed} @close=${() => setQuery({ file: null })} @changed=${() => this.listing.load()}></root-file></section>` : nothing}
      </div>`;
  }

  #crumbs() {
    const parts = this.path ? this.path.split("/") : [];
    return html`<nav class="crumb-path" aria-label="Folder"><a href=${this.#address("")} aria-current=${parts.length ? nothing : "page"}>${this.root.label}</a>${parts.map((part, i) => html`<span class="quiet">/</span><a href=${this.#address(parts.slice(0, i + 1).join("/"))} aria-current=${i === parts.length - 1 ? "page" : nothing}>${part}</a>`)}</nav>`;
  }

  #address(folder) {
    return `${location.pathname}${folder ? `?path=${encodeURIComponent(folder)}` : ""}`;
  }

  #tools() {
    const here = this.path ? [{ path: this.path }] : [];
    return html`
      <div class="row-tight wrap">
        ${this.fixed ? nothing : html`
          <button class="button small" aria-pressed=${this.uploading ? "true" : "false"} @click=${() => { this.uploading = !this.uploading; this.update(); }}><ui-icon name="upload" size="s"></ui-icon>Upload</button>
          <button class="button small" @click=${this.#newFolder}><ui-icon name="folder-plus" size="s"></ui-icon>New folder</button>
          <button class="button small" @click=${this.#newFile}><ui-icon name="plus" size="s"></ui-icon>New file</button>`}
        ${this.root.shown && !this.fixed ? tensorboardButton(this.root.shown(this.path), { small: true }) : nothing}
        <a class="button small" href=${addresses.entriesArchive(this.root.id, here)} download><ui-icon name="download" size="s"></ui-icon>Download ${this.path ? "folder" : "all"}</a>
        <button class="button small ghost icon-only" aria-label="Look again" title="Look again" @click=${() => this.listing.load()}><ui-icon name="refresh-cw" size="s"></ui-icon></button>
      </div>`;
  }

  #markedBar(entries) {
    const one = entries.length === 1 ? entries[0] : null;
    const isFile = one?.kind === "file";
    return html`
      <div class="marked-bar" role="group" aria-label="What to do with the chosen">
        <strong class="small">${one ? one.name : `${count(entries.length, "entry", "entries")} chosen`}</strong>
        <span class="grow"></span>
        <a class="button small" href=${isFile ? addresses.content(this.root.id, one, { download: true }) : addresses.entriesArchive(this.root.id, entries)} download><ui-icon name="download" size="s"></ui-icon>Download</a>
        ${this.fixed ? nothing : html`
          ${one ? html`<button class="button small" @click=${() => this.#rename(one)}><ui-icon name="pencil" size="s"></ui-icon>Rename</button>
            <button class="button small" @click=${() => this.#duplicate(one)}><ui-icon name="copy" size="s"></ui-icon>Duplicate</button>` : nothing}
          <button class="button small" @click=${() => this.#makeVersion(entries)}><ui-icon name="database" size="s"></ui-icon>New dataset version…</button>
          <button class="button small" @click=${() => this.#move(entries)}><ui-icon name="folder-input" size="s"></ui-icon>Move</button>
          <button class="button small danger" @click=${() => this.#delete(entries)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>`}
        <button class="button small ghost" @click=${() => this.#mark([])}>Clear</button>
      </div>`;
  }

  #table(items, next) {
    if (!items.length) {
      return this.path
        ? empty({ icon: "folder-open", title: "An empty folder", text: this.fixed ? "" : "Drop files and folders here." })
        : empty({ icon: "folder-open", title: "No files yet", text: this.fixed ? "Nothing was put here so far." : this.root.none });
    }
    const all = items.every(({ path }) => this.chosen.has(path));
    return html`
      <div class="table-wrap"><table class="entries">
        <thead><tr><th class="mark"><input type="checkbox" aria-label="Choose all" .checked=${all} @change=${() => this.#mark(all ? [] : items.map(({ path }) => path))}></th><th>Name</th><th class="number hide-narrow">Size</th><th class="number hide-narrow">Changed</th></tr></thead>
        <tbody>${repeat(items, ({ path, pathBase64 }) => pathBase64 ?? path, (entry) => this.#row(entry))}</tbody>
      </table></div>
      ${next ? html`<div class="more"><button class="button small" @click=${() => { this.pages += 1; this.listing.load(); }}>Show more</button></div>` : nothing}`;
  }

  #row(entry) {
    const { path, name, kind } = entry;
    const isFolder = kind === "directory";
    // What is not UTF-8 can be taken and removed; its name cannot be in an address of a page.
    const opens = (isFolder || kind === "file") && !entry.pathBase64;
    const address = isFolder ? this.#address(path) : `${location.pathname}?${new URLSearchParams({ ...(this.path ? { path: this.path } : {}), file: path })}`;
    return html`
      <tr class=${opens ? "linked" : ""} data-kind=${kind} aria-selected=${path === this.file ? "true" : "false"}>
        <td class="mark"><input type="checkbox" aria-label="Choose ${name}" .checked=${this.chosen.has(path)} @change=${() => this.#toggle(path)}></td>
        <td><span class="row-tight"><ui-icon name=${ICONS[kind]} size="s"></ui-icon>${opens ? html`<a class="row-link cut" href=${address} data-route>${name}</a>` : html`<span class="cut">${name}</span>`}${entry.target ? html`<span class="tiny quiet cut">→ ${entry.target}</span>` : nothing}</span></td>
        <td class="number quiet hide-narrow">${kind === "file" ? bytes(entry.bytes) : ""}</td>
        <td class="number quiet hide-narrow"><time-ago at=${entry.modifiedAt}></time-ago></td>
      </tr>`;
  }

  #toggle(path) {
    if (!this.chosen.delete(path)) this.chosen.add(path);
    this.update();
  }

  #mark(paths) {
    this.chosen = new Set(paths);
    this.update();
  }

  #newFolder = async () => {
    const made = await askName({ title: "New folder", label: "Name", action: "Create", value: "", send: (name) => api.makeDirectory(this.root.id, join(this.path, name)) });
    if (made) this.listing.load();
  };

  #newFile = async () => {
    const made = await askName({ title: "New file", label: "Name", action: "Create", value: "", hint: "An empty text file; it can be edited at once.", send: (name) => api.putEntry(this.root.id, join(this.path, name), new Blob([]), { keep: true }) });
    if (!made) return;
    this.listing.load();
    setQuery({ file: made.path });
  };

  async #rename(entry) {
    const to = (name) => join(parentOf(entry.path), name);
    const task = await askName({ title: `Rename ${entry.name}`, label: "New name", action: "Rename", value: entry.name, send: (name) => api.moveEntry(this.root.id, entry, to(name)) });
    if (!task) return;
    this.#mark([]);
    if (this.file === entry.path) setQuery({ file: task.to.path });
    this.tasks.follow(task);
  }

  async #duplicate(entry) {
    const name = copyName(entry.name, this.listing.value.items.map((other) => other.name));
    this.#mark([]);
    await this.#try(async () => this.tasks.follow(await api.copyEntry(this.root.id, entry, join(parentOf(entry.path), name))));
  }

  async #move(entries) {
    const title = entries.length === 1 ? `Move ${entries[0].name}` : `Move ${count(entries.length, "entry", "entries")}`;
    const send = async (folder) => {
      const into = folder.replace(/^\/+|\/+$/g, "");
      for (const entry of entries) this.tasks.follow(await api.moveEntry(this.root.id, entry, join(into, entry.name)));
      return true;
    };
    if (!(await askName({ title, label: "Into the folder", action: "Move", value: this.path, placeholder: "the top", optional: true, hint: `A path beneath ${this.root.label}. Nothing that is there is replaced.`, send }))) return this.listing.load();
    this.#mark([]);
    setQuery({ file: null });
  }

  async #makeVersion(entries) {
    const version = await askVersion(this.root, this.path, entries);
    if (!version) return;
    this.#mark([]);
    this.versions.follow(version.import);
  }

  async #delete(entries) {
    const what = entries.length === 1 ? entries[0].name : count(entries.length, "entry", "entries");
    const folders = entries.filter(({ kind }) => kind === "directory").length;
    const text = `${entries.length === 1 ? "It goes" : `${entries.slice(0, 5).map(({ name }) => name).join(", ")}${entries.length > 5 ? " and more go" : " go"}`} from ${join(this.root.label, this.path)} for good${folders ? ", with everything in the folders" : ""}.`;
    if (!(await confirm({ title: `Delete ${what}?`, text }))) return;
    await this.#try(async () => {
      for (const entry of entries) await api.deleteEntry(this.root.id, entry, { recursive: entry.kind === "directory" });
      toast(`${what} ${entries.length === 1 ? "was" : "were"} deleted.`);
    });
    if (entries.some(({ path }) => path === this.file || this.file?.startsWith(`${path}/`))) setQuery({ file: null });
    this.#mark([]);
    this.listing.load();
  }

  async #try(action) {
    try {
      await action();
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
  }

  #over = (event) => {
    if (this.fixed || !event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    event.currentTarget.classList.add("over");
  };

  #out = (event) => {
    if (!event.currentTarget.contains(event.relatedTarget)) event.currentTarget.classList.remove("over");
  };

  /** What was dropped on the list goes to the panel, which shows how far it is. */
  #dropped = async (event) => {
    event.currentTarget.classList.remove("over");
    if (this.fixed) return;
    event.preventDefault();
    const walking = droppedFiles(event.dataTransfer);
    this.uploading = true;
    this.update();
    await this.#try(async () => uploadQueue(rootTarget(this.root.id)).add(await walking, this.path));
  };

  #uploadAsCurl() {
    return fetchAsCurl(`${addresses.files(this.root.id)}/content/${join(this.path, "a.txt")}`, { file: "a.txt" });
  }
}

reactive(FileBrowser, ["root", "path", "file"]);
customElements.define("file-browser", FileBrowser);
