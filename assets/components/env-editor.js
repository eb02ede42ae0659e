// <env-editor .rows=${[{ name, value, secret }]} .secrets=${names}>: variables, each a text or a secret.
// Emits "edit" with the rows. A secret's value never passes through the page, only its name.
import { html, nothing } from "/html.js";
import { Element, reactive } from "/components/element.js";
import "/components/ui-icon.js";

class EnvEditor extends Element {
  view() {
    const rows = this.rows ?? [];
    return html`
      ${rows.map((row, i) => html`
        <div class="env-row">
          <input class="mono" placeholder="NAME" aria-label="Name of variable ${i + 1}" .value=${row.name} spellcheck="false" autocapitalize="off" @input=${(event) => this.#edit(i, { name: event.target.value })}>
          ${row.secret ? this.#secretPicker(row, i) : html`<input class="mono" placeholder="value" aria-label="Value of variable ${i + 1}" .value=${row.value} spellcheck="false" @input=${(event) => this.#edit(i, { value: event.target.value })}>`}
          <button type="button" class="button" aria-pressed=${row.secret ? "true" : "false"} title="Take the value from a secret" @click=${() => this.#edit(i, { secret: !row.secret, value: "" })}><ui-icon name="lock" size="s"></ui-icon>Secret</button>
          <button type="button" class="button ghost icon-only" aria-label="Remove variable ${i + 1}" @click=${() => this.#set(rows.filter((_, other) => other !== i))}><ui-icon name="x"></ui-icon></button>
        </div>`)}
      <div><button type="button" class="button small" @click=${() => this.#set([...rows, { name: "", value: "", secret: false }])}><ui-icon name="plus" size="s"></ui-icon>Add a variable</button></div>`;
  }

  #secretPicker(row, i) {
    const names = this.secrets ?? [];
    return html`<select aria-label="Secret for variable ${i + 1}" @change=${(event) => this.#edit(i, { value: event.target.value })}>
      <option value="" ?selected=${!row.value}>${names.length ? "Choose a secret" : "There are no secrets yet"}</option>
      ${names.map((name) => html`<option value=${name} ?selected=${row.value === name}>${name}</option>`)}
      ${row.value && !names.includes(row.value) ? html`<option value=${row.value} selected>${row.value} (missing)</option>` : nothing}
    </select>`;
  }

  #edit(at, change) {
    this.#set(this.rows.map((row, i) => (i === at ? { ...row, ...change } : row)));
  }

  #set(rows) {
    this.rows = rows;
    this.dispatchEvent(new CustomEvent("edit", { detail: rows }));
  }
}

reactive(EnvEditor, ["rows", "secrets"]);
customElements.define("env-editor", EnvEditor);
