// <drop-zone accept=".zip,.tar">: a file, dropped or chosen; emits "file".
import { html } from "/html.js";
import { Element } from "/components/element.js";
import "/components/ui-icon.js";

class DropZone extends Element {
  view() {
    return html`
      <label class="drop" @dragover=${this.#over} @dragleave=${this.#out} @drop=${this.#dropped}>
        <input type="file" class="visually-hidden" accept=${this.getAttribute("accept") ?? ""} @change=${(event) => this.#take(event.target.files)}>
        <ui-icon name="upload" size="l"></ui-icon>
        <span><span class="link">Choose an archive</span> or drop it here</span>
        <span class="tiny">zip, tar, tar.gz or tar.zst</span>
      </label>`;
  }

  #over = (event) => {
    event.preventDefault();
    event.currentTarget.classList.add("over");
  };

  #out = (event) => event.currentTarget.classList.remove("over");

  #dropped = (event) => {
    event.preventDefault();
    this.#out(event);
    this.#take(event.dataTransfer.files);
  };

  #take(files) {
    if (files.length) this.dispatchEvent(new CustomEvent("file", { detail: files[0] }));
  }
}
customElements.define("drop-zone", DropZone);
