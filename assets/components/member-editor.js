// <member-editor .rows=${[{ kind, id, title, path, ref, name }]} .problem=${…} ?wordless>: what a TensorBoard
// shows: what was chosen, and a search through what there is. Emits "edit" with the rows. `wordless` marks
// what is wrong and leaves it to others to say so.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { MEMBER_KINDS, memberProblem, usualName } from "/components/tensorboard-words.js";
import "/components/state-chip.js";
import "/components/ui-icon.js";

const FOUND = 7;
const LISTED = 100; // Folders and versions that are offered; any other can be typed.
const TYPING_MILLIS = 250;

class MemberEditor extends Element {
  kind = "job";
  text = "";
  folders = new Map(); // By notebook: names of the folders at its top.
  versions = new Map(); // By dataset: what may stand behind its name.

  start() {
    this.found = new Resource(this, () => this.#find());
    this.found.load();
    this.onRemoved(() => clearTimeout(this.typing));
  }

  #find() {
    const query = { q: this.text.trim(), limit: FOUND };
    return { job: api.jobs, experiment: api.experiments, notebook: api.notebooks, dataset: api.datasets }[this.kind](query);
  }

  view() {
    const rows = this.rows ?? [];
    const wrong = memberProblem(this.problem);
    return html`
      ${rows.length ? html`<ol class="member-rows" aria-label="What it shows">${rows.map((row, i) => this.#row(row, i, wrong?.at === i ? wrong : null))}</ol>` : nothing}
      ${wrong && !(wrong.at in rows) ? this.#words() : nothing}
      <div class="finder">
        <div class="row">
          <div class="segments" role="group" aria-label="What to add">${Object.entries(MEMBER_KINDS).map(([kind, { name }]) => html`<button type="button" aria-pressed=${kind === this.kind ? "true" : "false"} @click=${() => this.#look({ kind })}>${name}</button>`)}</div>
          <div class="search"><ui-icon name="search" size="s"></ui-icon><input type="search" placeholder="Name or id…" aria-label="Search what to add" .value=${this.text} autocomplete="off" @input=${this.#typed} @keydown=${(event) => event.key === "Enter" && event.preventDefault()}></div>
        </div>
        ${this.found.show(({ items }) => this.#offers(items))}
      </div>`;
  }

  #words() {
    return this.hasAttribute("wordless") ? nothing : html`<span class="wrong small" role="alert">${this.problem.detail}</span>`;
  }

  #row(row, i, wrong) {
    const number = i + 1;
    const invalid = (...parts) => (wrong && parts.includes(wrong.part) ? "true" : nothing);
    return html`
      <li class="member-row ${wrong ? "bad" : ""}">
        <ui-icon name=${MEMBER_KINDS[row.kind].icon}></ui-icon>
        <div class="what"><strong class="cut">${row.title}</strong><span class="tiny quiet cut">${row.id} · ${MEMBER_KINDS[row.kind].where}</span></div>
        ${row.kind === "notebook" ? this.#folder(row, i, number, invalid("path")) : row.kind === "dataset" ? this.#version(row, i, number, invalid("dataset")) : nothing}
        <label class="path-field called" title="What it is called in TensorBoard"><span class="small quiet">as</span><input placeholder=${usualName(row)} aria-label="Name of member ${number} in there" .value=${row.name ?? ""} autocomplete="off" spellcheck="false" aria-invalid=${invalid("name", null)} @input=${(event) => this.#edit(i, { name: event.target.value })}></label>
        <button type="button" class="button ghost icon-only" aria-label="Remove ${row.title}" @click=${() => this.#set(this.rows.filter((_, other) => other !== i))}><ui-icon name="x"></ui-icon></button>
        ${wrong ? this.#words() : nothing}
      </li>`;
  }

  #folder(row, i, number, invalid) {
    return html`<label class="path-field part"><span class="mono quiet">/notebooks/</span><input class="mono" list="member-folders-${i}" placeholder="all" aria-label="Folder of member ${number}" .value=${row.path ?? ""} autocomplete="off" spellcheck="false" aria-invalid=${invalid} @input=${(event) => this.#edit(i, { path: event.target.value })}></label><datalist id="member-folders-${i}">${this.folders.get(row.id)?.map((name) => html`<option value=${name}></option>`)}</datalist>`;
  }

  #version(row, i, number, invalid) {
    return html`<span class="part"><input class="mono" list="member-versions-${i}" placeholder="NAME:VERSION" aria-label="Version of member ${number}" .value=${row.ref} autocomplete="off" spellcheck="false" aria-invalid=${invalid} @input=${(event) => this.#edit(i, { ref: event.target.value })}></span><datalist id="member-versions-${i}">${this.versions.get(row.id)?.map(([ref, words]) => html`<option value=${ref}>${words || nothing}</option>`)}</datalist>`;
  }

  #offers(items) {
    const { name } = MEMBER_KINDS[this.kind];
    if (!items.length) return html`<p class="small quiet none">${this.text.trim() ? `None of the ${name.toLowerCase()} is called so.` : `There are no ${name.toLowerCase()} yet.`}</p>`;
    return html`<ul class="offers" aria-label=${name}>${repeat(items, ({ id }) => id, (item) => this.#offer(item))}</ul>`;
  }

  #offer(item) {
    const { kind } = this;
    // Another folder of a notebook and another version of a dataset may be shown beside the first.
    const chosen = ["job", "experiment"].includes(kind) && (this.rows ?? []).some((row) => row.kind === kind && row.id === item.id);
    const why = chosen ? "Chosen" : kind === "dataset" && !item.latest ? "Nothing committed" : null;
    return html`
      <li>
        <span class="names"><span class="cut">${item.name}</span><span class="tiny quiet mono cut">${item.id}</span></span>
        ${item.state ? html`<state-chip of=${kind === "notebook" ? "notebook" : "job"} state=${item.state} phase=${item.phase ?? ""}></state-chip>` : nothing}
        <span class="grow"></span>
        ${why ? html`<span class="tiny quiet">${why}</span>` : html`<button type="button" class="button small" aria-label="Add ${item.name} (${item.id})" @click=${() => this.#add(kind, item)}><ui-icon name="plus" size="s"></ui-icon>Add</button>`}
      </li>`;
  }

  #look(change) {
    Object.assign(this, change);
    this.found.reset();
    this.update();
  }

  #typed = (event) => {
    this.text = event.target.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.found.load(), TYPING_MILLIS);
  };

  #add(kind, item) {
    const row = { kind, id: item.id, title: item.name, path: "", name: "" };
    if (kind === "dataset") {
      row.ref = `${item.public ? "gradient/" : ""}${item.name}:latest`;
      this.#learnVersions(item, row.ref.slice(0, -"latest".length));
    }
    if (kind === "notebook") this.#learnFolders(item.id);
    this.#set([...(this.rows ?? []), row]);
  }

  /** Suggestions alone: without them anything can still be typed. */
  async #learnFolders(id) {
    const { items } = await api.entries(id, { path: "" }, { limit: LISTED }).catch(() => ({ items: [] }));
    this.folders.set(id, items.filter(({ kind, pathBase64 }) => kind === "directory" && !pathBase64).map(({ path }) => path));
    this.update();
  }

  async #learnVersions({ id }, before) {
    const { items } = await api.versions(id, { limit: LISTED }).catch(() => ({ items: [] }));
    const committed = items.filter(({ state }) => state === "committed");
    const tags = committed.flatMap(({ version, tags }) => tags.map((tag) => [`${before}${tag}`, `now ${version}`]));
    this.versions.set(id, [[`${before}latest`, "the newest now"], ...tags, ...committed.map(({ version, message }) => [`${before}${version}`, message ?? ""])]);
    this.update();
  }

  #edit(at, change) {
    this.#set(this.rows.map((row, i) => (i === at ? { ...row, ...change } : row)));
  }

  #set(rows) {
    this.rows = rows;
    this.dispatchEvent(new CustomEvent("edit", { detail: rows }));
  }
}

reactive(MemberEditor, ["rows", "problem"]);
customElements.define("member-editor", MemberEditor);
