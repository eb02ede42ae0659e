// <inline-name .name=${text} ?fixed>: a heading whose text is changed where it stands; emits "rename".
import { html, nothing } from "/html.js";
import { Element, reactive } from "/components/element.js";
import "/components/ui-icon.js";

class InlineName extends Element {
  view() {
    if (!this.changing) {
      return html`<h1>${this.name}</h1>${this.hasAttribute("fixed") ? nothing : html`<button type="button" class="button ghost icon-only small" aria-label="Rename ${this.name}" title="Rename" @click=${() => (this.changing = true)}><ui-icon name="pencil" size="s"></ui-icon></button>`}`;
    }
    return html`
      <form class="row-tight" @submit=${this.#send}>
        <input name="name" aria-label="Name" .value=${this.name} required maxlength="128" autocomplete="off" @keydown=${(event) => event.key === "Escape" && (this.changing = false)}>
        <button class="button small primary">Rename</button>
        <button type="button" class="button small ghost" @click=${() => (this.changing = false)}>Cancel</button>
      </form>`;
  }

  drawn() {
    if (this.changing && !this.focused) this.querySelector("input").select();
    this.focused = this.changing;
  }

  #send = (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    this.changing = false;
    if (name && name !== this.name) this.dispatchEvent(new CustomEvent("rename", { detail: name }));
  };
}

reactive(InlineName, ["name", "changing"]);
customElements.define("inline-name", InlineName);
