// <tensorboard-form mode="new|edit" .draft .problem .busy>: everything that can be said of a TensorBoard; its
// members only of a new one. Emits "edit" at each change and "send" when it is to be sent, with whether it
// is to be opened then; the page sends it.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { duration } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { failed } from "/components/states.js";
import { memberProblem } from "/components/tensorboard-words.js";
import "/components/machine-picker.js";
import "/components/member-editor.js";
import "/components/ui-icon.js";

/** The fields that the form shows; a problem in another one is told above the button. */
const SHOWN = ["name", "project", "image", "registryUsername", "registryPassword", "machineType", "idleSeconds"];
const MORE = ["image", "registryUsername", "registryPassword", "machineType"];
const MINUTE = 60;
const IDLES = [10 * MINUTE, 30 * MINUTE, 60 * MINUTE, 240 * MINUTE, 720 * MINUTE];

class TensorboardForm extends Element {
  start() {
    this.types = new Resource(this, api.machineTypes);
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.secrets = new Resource(this, () => api.secrets({ limit: 500 }));
    for (const resource of [this.types, this.projects, this.secrets]) resource.load();
  }

  get editing() {
    return this.getAttribute("mode") === "edit";
  }

  #set(changes) {
    Object.assign(this.draft, changes);
    this.dispatchEvent(new CustomEvent("edit"));
    this.update();
  }

  #bind(name) {
    return (event) => this.#set({ [name]: event.target.value });
  }

  #choose(members) {
    // What was said of the third is not so of the one that comes to stand there.
    if (members.length < this.draft.members.length && memberProblem(this.problem)) this.problem = null;
    this.#set({ members });
  }

  #send = (event) => {
    event.preventDefault();
    this.dispatchEvent(new CustomEvent("send", { detail: { open: event.submitter?.value !== "keep" } }));
  };

  /** Leads to the field that a problem names, which may be folded away. */
  drawn() {
    if (this.problem === this.shownProblem) return;
    this.shownProblem = this.problem;
    if (!this.problem) return;
    const wrong = this.querySelector('[aria-invalid="true"]');
    wrong?.closest("details")?.setAttribute("open", "");
    (wrong ?? this.querySelector(".wrong, .problem"))?.scrollIntoView({ block: "center" });
    wrong?.focus();
  }

  #wrongField() {
    return SHOWN.includes(this.problem?.field) ? this.problem.field : null;
  }

  #invalid(name) {
    return this.#wrongField() === name ? "true" : nothing;
  }

  #wrong(name) {
    return this.#wrongField() === name ? html`<span class="wrong" role="alert">${this.problem.detail}</span>` : nothing;
  }

  #input(name, label, placeholder, { hint, mono = false, options } = {}) {
    return html`<div class="field"><label for=${name}>${label}</label><input id=${name} name=${name} class=${mono ? "mono" : ""} placeholder=${placeholder} .value=${this.draft[name]} list=${options ?? nothing} autocomplete="off" spellcheck="false" aria-invalid=${this.#invalid(name)} @input=${this.#bind(name)}>${hint ? html`<span class="hint">${hint}</span>` : nothing}${this.#wrong(name)}</div>`;
  }

  view() {
    const elsewhere = this.problem && !this.#wrongField() && (this.editing || !memberProblem(this.problem));
    return html`
      <form @submit=${this.#send} novalidate>
        ${this.editing ? nothing : this.#members()} ${this.#what()} ${this.#end()} ${this.#more()}
        ${elsewhere ? failed(this.problem) : nothing}
        <div class="row">
          ${this.editing
            ? html`<button class="button primary" ?disabled=${Boolean(this.busy)}><ui-icon name="check" size="s"></ui-icon>${this.busy ?? "Save"}</button>`
            : html`<button class="button primary" ?disabled=${Boolean(this.busy)}><ui-icon name="external-link" size="s"></ui-icon>${this.busy ?? "Make and open"}</button>
                <button class="button" value="keep" ?disabled=${Boolean(this.busy)}>Only make it</button>`}
        </div>
      </form>`;
  }

  #members() {
    return html`
      <section class="form-section"><h2>What it shows</h2>
        <member-editor .rows=${this.draft.members} .problem=${this.problem} @edit=${(event) => this.#choose(event.detail)}></member-editor>
        <span class="tiny quiet">It may show something else at any time, also while it runs.</span>
      </section>`;
  }

  #what() {
    return html`
      <section class="form-section"><h2>What it is</h2>
        <div class="two">
          ${this.#input("name", "Name", "tensorboard")}
          ${this.#input("project", "Project", "default", { options: "project-names", hint: "A new name makes a new project." })}
        </div>
        <datalist id="project-names">${this.projects.value?.items.map((project) => html`<option value=${project.name}></option>`)}</datalist>
      </section>`;
  }

  #end() {
    const now = this.draft.idle;
    const seconds = [...new Set([...IDLES, ...(/^\d+$/.test(now) ? [Number(now)] : [])])].sort((a, b) => a - b);
    const option = (value, words) => html`<option value=${value} ?selected=${String(value) === now}>${words}</option>`;
    return html`
      <section class="form-section"><h2>When it stops by itself</h2>
        <div class="field"><label for="idleSeconds">When nobody looks at it</label>
          <select id="idleSeconds" name="idle" aria-invalid=${this.#invalid("idleSeconds")} @change=${this.#bind("idle")}>
            ${this.editing ? nothing : option("", "As usual on this box")}
            ${seconds.map((value) => option(value, `After ${duration(value)}`))}
            ${option("never", "Never")}
          </select>
          <span class="hint">It starts again when somebody opens it, at the same address.</span>${this.#wrong("idleSeconds")}
        </div>
      </section>`;
  }

  #more() {
    const { machineType } = this.draft;
    return html`
      <details ?open=${this.editing || MORE.includes(this.#wrongField())}>
        <summary>${this.editing ? "Image, registry and machine" : "More: image, registry, machine"}</summary>
        <div class="stack">
          ${this.#input("image", "Image", "as usual on this box", { mono: true, hint: "Any image with the program tensorboard in it. Left empty, it is what this box has as its usual." })}
          <div class="two">
            ${this.#input("registryUsername", "Registry user name", "for a private image")}
            ${this.#input("registryPassword", "Registry password", "secret:NAME", { mono: true, options: "secret-names", hint: this.editing ? "Left empty, it stays as it was." : "secret:NAME takes it from a secret." })}
          </div>
          <datalist id="secret-names">${[...new Set(this.secrets.value?.items.map(({ name }) => name) ?? [])].map((name) => html`<option value="secret:${name}"></option>`)}</datalist>
          <div class="field"><span class="label">Machine</span>
            <label class="check" for="usual-machine"><input id="usual-machine" type="checkbox" .checked=${machineType === ""} @change=${(event) => this.#set({ machineType: event.target.checked ? "" : this.#firstType() })}><span>As usual: the smallest one without a GPU</span></label>
            ${machineType === "" ? nothing : this.types.show(({ items }) => html`<machine-picker .types=${items} .value=${machineType} @pick=${(event) => this.#set({ machineType: event.detail })}></machine-picker>`)}
            ${this.#wrong("machineType")}
          </div>
        </div>
      </details>`;
  }

  #firstType() {
    const types = this.types.value?.items ?? [];
    return (types.find((type) => type.default) ?? types[0])?.name ?? "";
  }
}

reactive(TensorboardForm, ["draft", "problem", "busy"]);
customElements.define("tensorboard-form", TensorboardForm);
