// <file-details .datasetId .versionId .file ?draft>: facts about one file, and what can be done with it.
// Emits "deleted" and "close".
import { html, nothing } from "/html.js";
import { addresses, api } from "/api.js";
import { bytes, integer } from "/format.js";
import { confirm } from "/components/confirm-dialog.js";
import { copy } from "/components/copy-button.js";
import { Element, reactive } from "/components/element.js";
import { toast } from "/components/toast-list.js";
import "/components/file-preview.js";

const LIFE_SECONDS = 86_400;

class FileDetails extends Element {
  view() {
    const { file } = this;
    if (!file) return nothing;
    return html`
      <div class="card-head">
        <strong class="mono file-path">${file.path}</strong>
        <button class="button small ghost icon-only" @click=${() => this.dispatchEvent(new CustomEvent("close"))} aria-label="Close ${file.path}"><ui-icon name="x"></ui-icon></button>
      </div>
      <div class="file-facts">
        <dl class="definition">
          ${file.kind === "link" ? html`<dt>Leads to</dt><dd class="mono">${file.target}</dd>` : html`<dt>Size</dt><dd>${bytes(file.bytes)}${file.bytes >= 1024 ? html` <span class="quiet">(${integer(file.bytes)} bytes)</span>` : nothing}</dd>`}
          ${file.blake3 ? html`<dt>BLAKE3</dt><dd class="mono row-tight"><span class="cut" title=${file.blake3}>${file.blake3}</span><copy-button icon-only label="Copy the hash" .text=${file.blake3}></copy-button></dd>` : nothing}
          ${file.executable ? html`<dt>Executable</dt><dd>yes</dd>` : nothing}
          ${file.pathBase64 ? html`<dt>Name</dt><dd>not UTF-8; it travels as bytes, and shown here is what can be</dd>` : nothing}
        </dl>
        ${file.kind === "link" ? nothing : html`<div class="row">
          <a class="button small" href=${addresses.file(this.datasetId, this.versionId, file, { download: true })} download><ui-icon name="download" size="s"></ui-icon>Download</a>
          <button class="button small" @click=${this.#sign} ?disabled=${this.signing}><ui-icon name=${this.signed === file.path ? "check" : "link"} size="s"></ui-icon>${this.signed === file.path ? "Copied" : "Copy a signed link"}</button>
          ${this.hasAttribute("draft") ? html`<button class="button small danger" @click=${this.#delete}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>` : nothing}
        </div>`}
        ${this.signed === file.path ? html`<p class="tiny quiet" role="status">Whoever has the link can fetch this file for a day, without a key. <code class="signed-url">${this.signedUrl}</code></p>` : nothing}
      </div>
      <file-preview .source=${this.#source()} .file=${file}></file-preview>`;
  }

  #source() {
    const { datasetId, versionId } = this;
    return {
      key: versionId,
      address: (file) => addresses.file(datasetId, versionId, file),
      range: (file, start, end, signal) => api.fileRange(datasetId, versionId, file, start, end, signal),
    };
  }

  #sign = async () => {
    const { path } = this.file;
    this.signing = true;
    try {
      const { urls } = await api.signUrls(this.datasetId, this.versionId, [{ method: "GET", path, expiresSeconds: LIFE_SECONDS }]);
      this.signedUrl = new URL(urls[0].url, location.origin).href;
      await copy(this.signedUrl);
      this.signed = path;
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
    this.signing = false;
  };

  #delete = async () => {
    const { path } = this.file;
    if (!(await confirm({ title: "Delete this file?", text: `${path} goes from this draft. Other versions keep theirs.` }))) return;
    try {
      await api.deleteFile(this.datasetId, this.versionId, this.file);
      toast(`${path} was deleted.`);
      this.dispatchEvent(new CustomEvent("deleted"));
    } catch (problem) {
      toast(problem.detail, "bad");
    }
  };
}

reactive(FileDetails, ["datasetId", "versionId", "file", "signed", "signing"]);
customElements.define("file-details", FileDetails);
