// <mount-editor kind="input|output|dataset" .rows=${[{ ref, name }]} .datasets=${[…]}>: which datasets a job
// reads or writes or a notebook has, and the name under which it sees each. Emits "edit" with the rows.
import { html, nothing } from "/html.js";
import { Element, reactive } from "/components/element.js";
import "/components/ui-icon.js";

class MountEditor extends Element {
  view() {
    const rows = this.rows ?? [];
    const kind = this.getAttribute("kind");
    const reads = kind !== "output";
    const references = reads ? inputReferences(this.datasets ?? []) : (this.datasets ?? []).filter((dataset) => !dataset.public).map(({ name }) => [name, ""]);
    return html`
      ${rows.map((row, i) => html`
        <div class="mount-row">
          <input class="mono" list="${kind}-references" placeholder=${reads ? "NAME, NAME:TAG or NAME:VERSION" : "dataset NAME"} aria-label="${kind === "dataset" ? "Reference" : "Dataset"} of ${kind} ${i + 1}" .value=${row.ref} spellcheck="false" autocomplete="off" @input=${(event) => this.#edit(i, { ref: event.target.value, ...(row.named ? {} : { name: nameOf(event.target.value) }) })}>
          <label class="path-field"><span class="mono quiet">/${kind}s/</span><input class="mono" placeholder="name" aria-label="Name of ${kind} ${i + 1}" .value=${row.name} spellcheck="false" autocomplete="off" @input=${(event) => this.#edit(i, { name: event.target.value, named: true })}></label>
          <button type="button" class="button ghost icon-only" aria-label="Remove ${kind} ${i + 1}" @click=${() => this.#set(rows.filter((_, other) => other !== i))}><ui-icon name="x"></ui-icon></button>
        </div>`)}
      <datalist id="${kind}-references">${references.map(([value, words]) => html`<option value=${value}>${words || nothing}</option>`)}</datalist>
      <div><button type="button" class="button small" @click=${() => this.#set([...rows, { ref: "", name: "" }])}><ui-icon name="plus" size="s"></ui-icon>Add ${kind === "dataset" ? "a" : "an"} ${kind}</button></div>`;
  }

  #edit(at, change) {
    this.#set(this.rows.map((row, i) => (i === at ? { ...row, ...change } : row)));
  }

  #set(rows) {
    this.rows = rows;
    this.dispatchEvent(new CustomEvent("edit", { detail: rows }));
  }
}

/** What may be read: datasets with a committed version. */
function inputReferences(datasets) {
  return datasets.filter(({ latest }) => latest).map((dataset) => [`${dataset.public ? "gradient/" : ""}${dataset.name}`, dataset.description ?? ""]);
}

/** "gradient/digits:stable" → "digits". */
export function nameOf(reference) {
  return reference.replace(/^gradient\//, "").split(":")[0].replace(/[^\p{L}\p{N}._-]/gu, "-");
}

reactive(MountEditor, ["rows", "datasets"]);
customElements.define("mount-editor", MountEditor);
