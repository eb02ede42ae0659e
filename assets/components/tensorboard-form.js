// <tensorboard-form mode="new|edit" .draft .problem .busy>: everything that can be said of a TensorBoard; its
// members only of a new one. Emits "edit" at each change and "send" when it is to be sent, with whether it
// is to be opened then; the page sends it.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { Element, reactive } from "/components/element.js";
import { FormFields } from "/components/form-fields.js";
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
  fields = new FormFields(this, () => SHOWN);

  start() {
    this.types = new Resource(this, api.machineTypes);
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.secrets = new Resource(this, () => api.secrets({ limit: 500 }));
    for (const resource of [this.types, this.projects, this.secrets]) resource.load();
  }

  get editing() {
    return this.getAttribute("mode") === "edit";
  }

  edit(changes) {
    Object.assign(this.draft, changes);
    this.dispatchEvent(new CustomEvent("edit"));
    this.update();
  }

  #choose(members) {
    // What was said of the third is not so of the one that comes to stand there.
    if (members.length < this.draft.members.length && memberProblem(this.problem)) this.problem = null;
    this.edit({ members });
  }

  #send = (event) => {
    event.preventDefault();
    this.dispatchEvent(new CustomEvent("send", { detail: { open: event.submitter?.value !== "keep" } }));
  };

  drawn() {
    this.fields.lead();
  }

  view() {
    const { fields } = this;
    const elsewhere = this.problem && !fields.wrongField() && (this.editing || !memberProblem(this.problem));
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
    const { fields } = this;
    return html`
      <section class="form-section"><h2>What it is</h2>
        <div class="two">
          ${fields.field("name", "Name", fields.input("name", "tensorboard"))}
          ${fields.project(this.projects.value)}
        </div>
      </section>`;
  }

  #end() {
    const { fields } = this;
    return html`
      <section class="form-section"><h2>When it stops by itself</h2>
        ${fields.field("idleSeconds", "When nobody looks at it", fields.limit("idle", IDLES, { field: "idleSeconds", usual: !this.editing }), "It starts again when somebody opens it, at the same address.")}
      </section>`;
  }

  #more() {
    const { fields } = this;
    const { machineType } = this.draft;
    return html`
      <details ?open=${this.editing || MORE.includes(fields.wrongField())}>
        <summary>${this.editing ? "Image, registry and machine" : "More: image, registry, machine"}</summary>
        <div class="stack">
          ${fields.field("image", "Image", fields.input("image", "as usual on this box", { mono: true }), "Any image with the program tensorboard in it. Left empty, it is what this box has as its usual.")}
          <div class="two">
            ${fields.field("registryUsername", "Registry user name", fields.input("registryUsername", "for a private image"))}
            ${fields.field("registryPassword", "Registry password", fields.password("registryPassword"), this.editing ? "Left empty, it stays as it was." : "secret:NAME takes it from a secret.")}
          </div>
          ${fields.secretNames(this.secrets.value)}
          <div class="field"><span class="label">Machine</span>
            <label class="check" for="usual-machine"><input id="usual-machine" type="checkbox" .checked=${machineType === ""} @change=${(event) => this.edit({ machineType: event.target.checked ? "" : this.#firstType() })}><span>As usual: the smallest one without a GPU</span></label>
            ${machineType === "" ? nothing : this.types.show(({ items }) => html`<machine-picker .types=${items} .value=${machineType} @pick=${(event) => this.edit({ machineType: event.detail })}></machine-picker>`)}
            ${fields.wrong("machineType")}
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
