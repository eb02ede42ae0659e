// <notebook-form mode="new|edit" .draft .problem .busy>: everything that can be said of a notebook.
// Emits "edit" at each change and "send" with nothing when it is to be sent; the page sends it.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { duration } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { failed } from "/components/states.js";
import "/components/env-editor.js";
import "/components/machine-picker.js";
import "/components/mount-editor.js";
import "/components/ui-icon.js";

/** The fields that the form shows; a problem in another one is told above the button. */
const SHOWN = ["image", "name", "project", "machineType", "workspace", "env", "datasets", "keepPackages", "shutdownSeconds", "idleSeconds", "public", "tags", "command", "user", "sharedMemoryBytes", "registryUsername", "registryPassword"];
const ADVANCED = ["command", "user", "sharedMemoryBytes", "registryUsername", "registryPassword"];
const HOUR = 3600;
const SHUTDOWNS = [HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, 24 * HOUR, 72 * HOUR, 168 * HOUR];
const IDLES = [HOUR / 2, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR];

class NotebookForm extends Element {
  start() {
    this.types = new Resource(this, api.machineTypes);
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.secrets = new Resource(this, () => api.secrets({ limit: 500 }));
    this.datasets = new Resource(this, () => api.datasets({ limit: 500 }));
    this.others = new Resource(this, () => api.notebooks({ limit: 100 }));
    this.types.load().then(() => this.#chooseDefault());
    for (const resource of [this.projects, this.secrets, this.datasets, this.others]) resource.load();
  }

  #chooseDefault() {
    const types = this.types.value?.items ?? [];
    if (!this.draft.machineType) this.#set({ machineType: types.find((type) => type.default)?.name ?? types[0]?.name ?? "" });
  }

  #set(changes) {
    Object.assign(this.draft, changes);
    this.dispatchEvent(new CustomEvent("edit"));
    this.update();
  }

  #bind(name) {
    return (event) => this.#set({ [name]: event.target.value });
  }

  #send = (event) => {
    event.preventDefault();
    if (!this.busy) this.dispatchEvent(new CustomEvent("send"));
  };

  /** Leads to what was refused. */
  drawn() {
    if (!this.problem || this.problem === this.led) return;
    this.led = this.problem;
    const wrong = this.querySelector('[aria-invalid="true"]');
    wrong?.closest("details")?.setAttribute("open", "");
    (wrong ?? this.querySelector(".wrong, .problem"))?.scrollIntoView({ block: "center" });
    wrong?.focus();
  }

  /** The wrong field, by the first name in a path such as "env.KEY" or "workspace.git". */
  #wrongField() {
    const name = this.problem?.field?.split(/[.[]/)[0];
    return SHOWN.includes(name) ? name : null;
  }

  #invalid(name) {
    return this.#wrongField() === name ? "true" : nothing;
  }

  #wrong(name) {
    return this.#wrongField() === name ? html`<span class="wrong" role="alert">${this.problem.detail}</span>` : nothing;
  }

  #field(name, label, control, hint) {
    return html`<div class="field"><label for=${name}>${label}</label>${control}${hint ? html`<span class="hint">${hint}</span>` : nothing}${this.#wrong(name)}</div>`;
  }

  #input(name, placeholder = "", { type = "text", mono = false, options, field = name, required = false } = {}) {
    return html`<input id=${field} name=${name} type=${type} class=${mono ? "mono" : ""} placeholder=${placeholder} .value=${this.draft[name]} list=${options ?? nothing} ?required=${required} autocomplete="off" spellcheck="false" aria-invalid=${this.#invalid(field)} @input=${this.#bind(name)}>`;
  }

  #check(name, label, hint) {
    return html`<div class="field"><label class="check" for=${name}><input id=${name} type="checkbox" .checked=${this.draft[name]} @change=${(event) => this.#set({ [name]: event.target.checked })}><span>${label}</span></label>${hint ? html`<span class="hint">${hint}</span>` : nothing}${this.#wrong(name)}</div>`;
  }

  get editing() {
    return this.getAttribute("mode") === "edit";
  }

  view() {
    return html`
      <form @submit=${this.#send} novalidate>
        ${this.#what()} ${this.#machine()} ${this.editing ? nothing : this.#workspace()} ${this.#data()} ${this.#end()} ${this.#environment()} ${this.#sharing()} ${this.#more()}
        ${this.problem && !this.#wrongField() ? failed(this.problem) : nothing}
        <div class="row">
          <button class="button primary" ?disabled=${Boolean(this.busy)}><ui-icon name=${this.editing ? "check" : "play"} size="s"></ui-icon>${this.busy ?? (this.editing ? "Save" : "Start the notebook")}</button>
        </div>
      </form>`;
  }

  #what() {
    const images = [...new Set(this.others.value?.items.map(({ image }) => image) ?? [])];
    return html`
      <section class="form-section"><h2>What it is</h2>
        ${this.#field("image", "Image", this.#input("image", "jupyter/scipy-notebook:latest", { mono: true, options: "image-names", required: true }), "Any image that has JupyterLab in it.")}
        <datalist id="image-names">${images.map((image) => html`<option value=${image}></option>`)}</datalist>
        <div class="two">
          ${this.#field("name", "Name", this.#input("name", "the image's name if left empty"))}
          ${this.#field("project", "Project", this.#input("project", "default", { options: "project-names" }), "A new name makes a new project.")}
        </div>
        <datalist id="project-names">${this.projects.value?.items.map((project) => html`<option value=${project.name}></option>`)}</datalist>
      </section>`;
  }

  #machine() {
    return html`
      <section class="form-section"><h2>Machine</h2>
        ${this.types.show(({ items }) => html`<machine-picker .types=${items} .value=${this.draft.machineType} @pick=${(event) => this.#set({ machineType: event.detail })}></machine-picker>`)}
        ${this.#wrong("machineType") === nothing ? html`<span class="tiny quiet">It may be another one at each start.</span>` : this.#wrong("machineType")}
      </section>`;
  }

  #workspace() {
    const { git } = this.draft;
    return html`
      <section class="form-section"><h2>Files to begin with</h2>
        <div class="two">
          ${this.#field("workspace", "Git address", this.#input("git", "https://example.org/team/course.git", { mono: true, field: "workspace" }), "Cloned into /notebooks at the first start. Left empty, it begins with no files.")}
          ${this.#field("ref", "Branch, tag or commit", this.#input("ref", "the default branch", { mono: true }))}
          ${git.trim() ? html`${this.#field("gitUsername", "User name", this.#input("gitUsername", "for a private repository"))} ${this.#field("gitPassword", "Password or token", this.#input("gitPassword", "secret:NAME", { mono: true, options: "secret-names" }), "secret:NAME takes it from a secret.")}` : nothing}
        </div>
      </section>`;
  }

  #data() {
    return html`
      <section class="form-section"><h2>Data and packages</h2>
        <div class="field"><span class="label">Datasets</span><mount-editor kind="dataset" .rows=${this.draft.datasets} .datasets=${this.datasets.value?.items ?? []} @edit=${(event) => this.#set({ datasets: event.detail })}></mount-editor><span class="hint">Versions of <a class="link" href="/datasets">datasets</a>, read-only in /datasets. Which version a name means is settled at each start.</span>${this.#wrong("datasets")}</div>
        ${this.#check("keepPackages", "Keep packages that are installed with pip", "They outlive a stop, beside the notebook's files. Everything else outside /notebooks and /storage is gone then.")}
      </section>`;
  }

  #end() {
    return html`
      <section class="form-section"><h2>When it stops by itself</h2>
        <div class="two">
          ${this.#field("shutdownSeconds", "Whatever is done in it", this.#limit("shutdown", "shutdownSeconds", SHUTDOWNS, false), "Counted from its start. It can be extended while it runs.")}
          ${this.#field("idleSeconds", "When nothing is done in it", this.#limit("idle", "idleSeconds", IDLES, true), "Busy kernels, output in a terminal, and GPUs or processors at work count. An open tab does not.")}
        </div>
      </section>`;
  }

  #limit(name, field, choices, never) {
    const now = this.draft[name];
    const seconds = [...new Set([...choices, ...(/^\d+$/.test(now) ? [Number(now)] : [])])].sort((a, b) => a - b);
    const option = (value, words) => html`<option value=${value} ?selected=${String(value) === now}>${words}</option>`;
    return html`<select id=${field} name=${name} aria-invalid=${this.#invalid(field)} @change=${this.#bind(name)}>
      ${this.editing ? nothing : option("", "As usual on this box")}
      ${seconds.map((value) => option(value, `After ${duration(value)}`))}
      ${never || now === "never" ? option("never", "Never") : nothing}
    </select>`;
  }

  #environment() {
    const names = [...new Set(this.secrets.value?.items.map((secret) => secret.name) ?? [])];
    return html`
      <section class="form-section"><h2>Environment</h2>
        <env-editor .rows=${this.draft.env} .secrets=${names} @edit=${(event) => this.#set({ env: event.detail })}></env-editor>
        <datalist id="secret-names">${names.map((name) => html`<option value="secret:${name}"></option>`)}</datalist>
        ${this.#wrong("env")}
      </section>`;
  }

  #sharing() {
    return html`
      <section class="form-section"><h2>Who finds it</h2>
        ${this.#field("tags", "Tags", this.#input("tags", "course, vision"), "Separated by commas.")}
        ${this.#check("public", "Public on this box", "Everybody with a key of this box may look at its files and fork it. Only the team opens, changes and starts it.")}
      </section>`;
  }

  #more() {
    return html`
      <details ?open=${ADVANCED.includes(this.#wrongField())}>
        <summary>Advanced: command, user, shared memory, registry</summary>
        <div class="stack">
          ${this.#field("command", "Command", html`<textarea id="command" name="command" class="mono" placeholder="JupyterLab" .value=${this.draft.command} spellcheck="false" aria-invalid=${this.#invalid("command")} @input=${this.#bind("command")}></textarea>`, "Run by /bin/sh -c in place of JupyterLab. It has to listen on port 8888.")}
          <div class="two">
            ${this.#field("user", "User in the container", this.#input("user", "the image's own", { mono: true }))}
            ${this.#field("sharedMemoryBytes", "Shared memory in MiB", this.#input("sharedMemoryMib", "chosen by the daemon", { type: "number", field: "sharedMemoryBytes" }), "Data loaders with many workers need more.")}
            ${this.#field("registryUsername", "Registry user name", this.#input("registryUsername", "for a private image"))}
            ${this.#field("registryPassword", "Registry password", this.#input("registryPassword", "secret:NAME", { mono: true, options: "secret-names" }), this.editing ? "Left empty, it stays as it was." : "secret:NAME takes it from a secret.")}
          </div>
        </div>
      </details>`;
  }
}

reactive(NotebookForm, ["draft", "problem", "busy"]);
customElements.define("notebook-form", NotebookForm);
