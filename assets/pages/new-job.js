// The form that submits a job; with ?clone=ID it begins as that job was.
import { html, nothing } from "/html.js";
import { addresses, api, newIdempotencyKey } from "/api.js";
import { bytes, jobAsCurl } from "/format.js";
import { go } from "/router.js";
import { draftFromSpec, emptyDraft, specFromDraft } from "/pages/job-draft.js";
import { FormFields } from "/components/form-fields.js";
import { nameOf } from "/components/mount-editor.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { failed, loading } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/code-block.js";
import "/components/drop-zone.js";
import "/components/machine-picker.js";
import "/components/ui-icon.js";

/** The fields that the form shows; a problem in another one is told above the button. */
const SHOWN = ["image", "command", "name", "project", "machineType", "env", "datasets", "outputs", "workspace", "workingDirectory", "ports", "timeLimitSeconds", "retries", "priority", "tags", "sharedMemoryBytes", "user", "registryUsername", "registryPassword", "build"];
const MORE = ["workingDirectory", "ports", "timeLimitSeconds", "retries", "priority", "tags", "sharedMemoryBytes", "user", "registryUsername", "registryPassword", "build"];

export default class NewJobPage extends Page {
  fields = new FormFields(this, () => (this.draft.workspace === "none" ? SHOWN.filter((name) => name !== "build") : SHOWN));
  draft = emptyDraft();
  problem = null;
  busy = null; // What is being done, in words.

  start() {
    this.heading = "New job";
    this.types = new Resource(this, api.machineTypes);
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.secrets = new Resource(this, () => api.secrets({ limit: 500 }));
    this.datasets = new Resource(this, () => api.datasets({ limit: 500 }));
    this.types.load().then(() => this.#chooseDefault());
    this.projects.load();
    this.secrets.load();
    this.datasets.load();
    this.watch(["job", "gpu"], () => this.types.refresh());
    this.watch(["secret"], () => this.secrets.refresh());
    this.watch(["dataset"], () => this.datasets.refresh());
    const project = this.route.query.get("project");
    if (project) this.draft.project = project;
    const dataset = this.route.query.get("dataset");
    if (dataset) this.draft.inputs = [{ ref: dataset, name: nameOf(dataset) }];
    if (this.route.query.get("clone")) this.#prefill(this.route.query.get("clone"));
  }

  async #prefill(id) {
    this.prefilling = true;
    try {
      const job = await api.job(id);
      this.draft = draftFromSpec(job);
      this.#chooseDefault();
    } catch (problem) {
      this.problem = problem;
    }
    this.prefilling = false;
    this.update();
  }

  #chooseDefault() {
    const types = this.types.value?.items ?? [];
    this.draft.machineType ||= types.find((type) => type.default)?.name ?? types[0]?.name ?? "";
    this.update();
  }

  edit(changes) {
    Object.assign(this.draft, changes);
    this.update();
  }

  #submit = async (event) => {
    event.preventDefault();
    if (this.busy) return;
    this.problem = null;
    try {
      let upload = this.draft.uploadId;
      if (this.draft.workspace === "upload" && this.draft.file) {
        this.#busyWith(`Uploading ${this.draft.file.name}…`);
        upload = this.draft.uploadId = (await api.upload(this.draft.file)).id;
        this.draft.file = null; // A second try does not send it again.
        this.draft.uploaded = true;
      }
      this.#busyWith("Submitting…");
      const spec = specFromDraft({ ...this.draft, uploadId: upload });
      const job = await api.createJob(spec, this.#intent(spec));
      toast(`${job.name} was accepted.`);
      go(`/jobs/${job.id}`);
    } catch (problem) {
      this.problem = problem;
      if (problem.status) this.intent = null; // It was answered: the next try is a new intent.
      this.#busyWith(null);
    }
  };

  /** The same job sent again after the connection broke is one job; a changed one is another. */
  #intent(spec) {
    const text = JSON.stringify(spec);
    if (this.intent?.text !== text) this.intent = { text, key: newIdempotencyKey() };
    return this.intent.key;
  }

  #busyWith(words) {
    this.busy = words;
    this.update();
  }

  drawn() {
    this.fields.lead();
  }

  view() {
    const { fields } = this;
    if (this.prefilling) return loading(8);
    return html`
      <header class="page-head"><div><h1>${this.draft.cloneOf ? "Clone a job" : "New job"}</h1><p>${this.draft.cloneOf ? html`Everything is as in <a href="/jobs/${this.draft.cloneOf}">${this.draft.cloneOf}</a>; change what you like.` : "An image, a command, and the machine to run it on."}</p></div></header>
      <div class="form-page">
        <form @submit=${this.#submit} novalidate>
          ${this.#what()} ${this.#where()} ${this.#data()} ${this.#workspace()} ${this.fields.environment(this.secrets.value)} ${this.#more()}
          ${this.problem && !fields.wrongField() ? failed(this.problem) : nothing}
          <div class="row"><button class="button primary" ?disabled=${Boolean(this.busy)}><ui-icon name="play" size="s"></ui-icon>${this.busy ?? "Start the job"}</button><a class="button ghost" href="/jobs">Cancel</a></div>
        </form>
        <aside class="aside" aria-label="The same as a request">
          <div class="card card-body stack-s"><h2>As a request</h2><p class="small quiet">The same job from a terminal or a script.</p><code-block label="Request as curl" .text=${jobAsCurl(addresses.jobs(), specFromDraft(this.draft))}></code-block></div>
        </aside>
      </div>`;
  }

  #what() {
    const { fields } = this;
    return html`
      <section class="form-section"><h2>What runs</h2>
        ${fields.field("image", "Image", fields.input("image", "python:3.12-slim", { mono: true, required: true }), this.draft.workspace !== "none" ? "May be left empty when a Dockerfile of the workspace is built." : "")}
        ${fields.field("command", "Command", html`<textarea id="command" name="command" class="mono" placeholder="python train.py --epochs 10" .value=${this.draft.command} spellcheck="false" aria-invalid=${fields.invalid("command")} @input=${fields.bind("command")}></textarea>`, "Run by /bin/sh -c. Left empty, the image's own command runs.")}
        <div class="two">
          ${fields.field("name", "Name", fields.input("name", "made up if left empty"))}
          ${fields.project(this.projects.value)}
        </div>
      </section>`;
  }

  #where() {
    const { fields } = this;
    return html`
      <section class="form-section"><h2>Machine</h2>
        ${this.types.show(({ items }) => html`<machine-picker .types=${items} .value=${this.draft.machineType} @pick=${(event) => this.edit({ machineType: event.detail })}></machine-picker>`)}
        ${fields.wrong("machineType")}
      </section>`;
  }

  #data() {
    const { fields } = this;
    const items = this.datasets.value?.items ?? [];
    return html`
      <section class="form-section"><h2>Data</h2>
        <div class="field"><span class="label">Inputs</span><mount-editor kind="input" .rows=${this.draft.inputs} .datasets=${items} @edit=${(event) => this.edit({ inputs: event.detail })}></mount-editor><span class="hint">Versions of <a class="link" href="/datasets">datasets</a>, read-only. A name without a version means its latest when the job is submitted.</span>${fields.wrong("datasets")}</div>
        <div class="field"><span class="label">Outputs</span><mount-editor kind="output" .rows=${this.draft.outputs} .datasets=${items} @edit=${(event) => this.edit({ outputs: event.detail })}></mount-editor><span class="hint">What the job leaves there becomes a new version when it succeeds, and a draft when it fails.</span>${fields.wrong("outputs")}</div>
      </section>`;
  }

  #workspace() {
    const { fields } = this;
    const kinds = [["none", "None"], ["git", "Git"], ["upload", "Upload"]];
    return html`
      <section class="form-section"><h2>Workspace</h2>
        <div><div class="segments" role="radiogroup" aria-label="Workspace">${kinds.map(([value, name]) => html`<label><input type="radio" name="workspace" value=${value} .checked=${this.draft.workspace === value} @change=${() => this.edit({ workspace: value })}>${name}</label>`)}</div></div>
        ${this.draft.workspace === "git" ? this.#git() : nothing}
        ${this.draft.workspace === "upload" ? this.#upload() : nothing}
        ${this.draft.workspace === "none" ? html`<p class="small quiet">The job starts in the image as it is. <code>/storage</code> is shared and stays; what is written to <code>/artifacts</code> is kept with the job.</p>` : nothing}
        ${fields.wrong("workspace")}
      </section>`;
  }

  #git() {
    const { fields } = this;
    return html`
      <div class="two">
        ${fields.field("git", "Address", fields.input("git", "https://example.org/team/model.git", { mono: true }))}
        ${fields.field("ref", "Branch, tag or commit", fields.input("ref", "the default branch", { mono: true }))}
        ${fields.field("gitUsername", "User name", fields.input("gitUsername", "for a private repository"))}
        ${fields.field("gitPassword", "Password or token", fields.password("gitPassword"), this.#passwordHint())}
      </div>`;
  }

  #upload() {
    const { file, uploadId } = this.draft;
    if (file || uploadId) {
      return html`<div class="note"><ui-icon name="package"></ui-icon><div class="grow"><strong>${file?.name ?? "Archive uploaded"}</strong><div class="small quiet">${file ? bytes(file.size) : html`<code>${uploadId}</code>`}</div></div><button type="button" class="button small" @click=${() => this.edit({ file: null, uploadId: "" })}>Another</button></div>`;
    }
    return html`<drop-zone accept=".zip,.tar,.tgz,.gz,.zst" @file=${(event) => this.edit({ file: event.detail })}></drop-zone>`;
  }

  #passwordHint() {
    return this.draft.cloneOf ? "Left empty, it stays as it was." : "secret:NAME takes it from a secret.";
  }

  #more() {
    const { fields } = this;
    return html`
      <details ?open=${this.draft.advanced || MORE.includes(fields.wrongField())}>
        <summary>More: limits, retries, ports, tags, registry</summary>
        <div class="stack">
          <div class="two">
            ${fields.field("timeLimitSeconds", "Time limit in minutes", fields.input("timeLimitMinutes", "none", { type: "number", field: "timeLimitSeconds" }), "The job is ended when it has run this long.")}
            ${fields.field("retries", "Retries after a failure", fields.input("retries", "0", { type: "number" }))}
            ${fields.field("priority", "Priority, -100 to 100", fields.input("priority", "0", { type: "number" }), "Higher goes first.")}
            ${fields.field("tags", "Tags", fields.input("tags", "vision, baseline"), "Separated by commas.")}
            ${fields.field("ports", "Ports", fields.input("ports", "8080, 6006:16006", { mono: true }), "container or container:host, separated by commas.")}
            ${fields.field("workingDirectory", "Working directory", fields.input("workingDirectory", "the workspace, or the image's own", { mono: true }))}
            ${fields.field("sharedMemoryBytes", "Shared memory in MiB", fields.input("sharedMemoryMib", "chosen by the daemon", { type: "number", field: "sharedMemoryBytes" }), "Data loaders with many workers need more.")}
            ${fields.field("user", "User in the container", fields.input("user", "the image's own", { mono: true }))}
            ${fields.field("registryUsername", "Registry user name", fields.input("registryUsername", "for a private image"))}
            ${fields.field("registryPassword", "Registry password", fields.password("registryPassword"), this.#passwordHint())}
            ${this.draft.workspace === "none" ? nothing : fields.field("build", "Build from Dockerfile", fields.input("dockerfile", "Dockerfile", { mono: true, field: "build" }), "A path in the workspace; the image is built from it first.")}
          </div>
        </div>
      </details>`;
  }
}
customElements.define("new-job-page", NewJobPage);
