// <notebook-form mode="new|edit" .draft .problem .busy>: everything that can be said of a notebook.
// Emits "edit" at each change and "send" with nothing when it is to be sent; the page sends it.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { Element, reactive } from "/components/element.js";
import { FormFields } from "/components/form-fields.js";
import { Resource } from "/components/resource.js";
import { failed } from "/components/states.js";
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
  fields = new FormFields(this, () => SHOWN);

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
    if (!this.draft.machineType) this.edit({ machineType: types.find((type) => type.default)?.name ?? types[0]?.name ?? "" });
  }

  edit(changes) {
    Object.assign(this.draft, changes);
    this.dispatchEvent(new CustomEvent("edit"));
    this.update();
  }

  #send = (event) => {
    event.preventDefault();
    if (!this.busy) this.dispatchEvent(new CustomEvent("send"));
  };

  drawn() {
    this.fields.lead();
  }

  #check(name, label, hint) {
    const { fields } = this;
    return html`<div class="field"><label class="check" for=${name}><input id=${name} type="checkbox" .checked=${this.draft[name]} @change=${(event) => this.edit({ [name]: event.target.checked })}><span>${label}</span></label>${hint ? html`<span class="hint">${hint}</span>` : nothing}${fields.wrong(name)}</div>`;
  }

  get editing() {
    return this.getAttribute("mode") === "edit";
  }

  view() {
    const { fields } = this;
    return html`
      <form @submit=${this.#send} novalidate>
        ${this.#what()} ${this.#machine()} ${this.editing ? nothing : this.#workspace()} ${this.#data()} ${this.#end()} ${this.fields.environment(this.secrets.value)} ${this.#sharing()} ${this.#more()}
        ${this.problem && !fields.wrongField() ? failed(this.problem) : nothing}
        <div class="row">
          <button class="button primary" ?disabled=${Boolean(this.busy)}><ui-icon name=${this.editing ? "check" : "play"} size="s"></ui-icon>${this.busy ?? (this.editing ? "Save" : "Start the notebook")}</button>
        </div>
      </form>`;
  }

  #what() {
    const { fields } = this;
    const images = [...new Set(this.others.value?.items.map(({ image }) => image) ?? [])];
    return html`
      <section class="form-section"><h2>What it is</h2>
        ${fields.field("image", "Image", fields.input("image", "jupyter/scipy-notebook:latest", { mono: true, options: "image-names", required: true }), "Any image that has JupyterLab in it.")}
        <datalist id="image-names">${images.map((image) => html`<option value=${image}></option>`)}</datalist>
        <div class="two">
          ${fields.field("name", "Name", fields.input("name", "the image's name if left empty"))}
          ${fields.project(this.projects.value)}
        </div>
      </section>`;
  }

  #machine() {
    const { fields } = this;
    return html`
      <section class="form-section"><h2>Machine</h2>
        ${this.types.show(({ items }) => html`<machine-picker .types=${items} .value=${this.draft.machineType} @pick=${(event) => this.edit({ machineType: event.detail })}></machine-picker>`)}
        ${fields.wrong("machineType") === nothing ? html`<span class="tiny quiet">It may be another one at each start.</span>` : fields.wrong("machineType")}
      </section>`;
  }

  #workspace() {
    const { fields } = this;
    const { git } = this.draft;
    return html`
      <section class="form-section"><h2>Files to begin with</h2>
        <div class="two">
          ${fields.field("workspace", "Git address", fields.input("git", "https://example.org/team/course.git", { mono: true, field: "workspace" }), "Cloned into /notebooks at the first start. Left empty, it begins with no files.")}
          ${fields.field("ref", "Branch, tag or commit", fields.input("ref", "the default branch", { mono: true }))}
          ${git.trim() ? html`${fields.field("gitUsername", "User name", fields.input("gitUsername", "for a private repository"))} ${fields.field("gitPassword", "Password or token", fields.password("gitPassword"), "secret:NAME takes it from a secret.")}` : nothing}
        </div>
      </section>`;
  }

  #data() {
    const { fields } = this;
    return html`
      <section class="form-section"><h2>Data and packages</h2>
        <div class="field"><span class="label">Datasets</span><mount-editor kind="dataset" .rows=${this.draft.datasets} .datasets=${this.datasets.value?.items ?? []} @edit=${(event) => this.edit({ datasets: event.detail })}></mount-editor><span class="hint">Versions of <a class="link" href="/datasets">datasets</a>, read-only in /datasets. Which version a name means is settled at each start.</span>${fields.wrong("datasets")}</div>
        ${this.#check("keepPackages", "Keep packages that are installed with pip", "They outlive a stop, beside the notebook's files. Everything else outside /notebooks and /storage is gone then.")}
      </section>`;
  }

  #end() {
    const { fields } = this;
    return html`
      <section class="form-section"><h2>When it stops by itself</h2>
        <div class="two">
          ${fields.field("shutdownSeconds", "Whatever is done in it", fields.limit("shutdown", SHUTDOWNS, { field: "shutdownSeconds", never: false, usual: !this.editing }), "Counted from its start. It can be extended while it runs.")}
          ${fields.field("idleSeconds", "When nothing is done in it", fields.limit("idle", IDLES, { field: "idleSeconds", usual: !this.editing }), "Busy kernels, output in a terminal, and GPUs or processors at work count. An open tab does not.")}
        </div>
      </section>`;
  }

  #sharing() {
    const { fields } = this;
    return html`
      <section class="form-section"><h2>Who finds it</h2>
        ${fields.field("tags", "Tags", fields.input("tags", "course, vision"), "Separated by commas.")}
        ${this.#check("public", "Public on this box", "Everybody with a key of this box may look at its files and fork it. Only the team opens, changes and starts it.")}
      </section>`;
  }

  #more() {
    const { fields } = this;
    return html`
      <details ?open=${ADVANCED.includes(fields.wrongField())}>
        <summary>Advanced: command, user, shared memory, registry</summary>
        <div class="stack">
          ${fields.field("command", "Command", html`<textarea id="command" name="command" class="mono" placeholder="JupyterLab" .value=${this.draft.command} spellcheck="false" aria-invalid=${fields.invalid("command")} @input=${fields.bind("command")}></textarea>`, "Run by /bin/sh -c in place of JupyterLab. It has to listen on port 8888.")}
          <div class="two">
            ${fields.field("user", "User in the container", fields.input("user", "the image's own", { mono: true }))}
            ${fields.field("sharedMemoryBytes", "Shared memory in MiB", fields.input("sharedMemoryMib", "chosen by the daemon", { type: "number", field: "sharedMemoryBytes" }), "Data loaders with many workers need more.")}
            ${fields.field("registryUsername", "Registry user name", fields.input("registryUsername", "for a private image"))}
            ${fields.field("registryPassword", "Registry password", fields.password("registryPassword"), this.editing ? "Left empty, it stays as it was." : "secret:NAME takes it from a secret.")}
          </div>
        </div>
      </details>`;
  }
}

reactive(NotebookForm, ["draft", "problem", "busy"]);
customElements.define("notebook-form", NotebookForm);
