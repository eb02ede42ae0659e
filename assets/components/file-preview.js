// <file-preview .source .file>: the head of one file as text, table or picture, a notebook or Markdown as
// it is read. `source` is where the file is: { key, address(file), range(file, start, end, signal) }.
import { html, nothing } from "/html.js";
import { bytes, count, integer } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { csvTable, jsonlTable, kindOf, textOf } from "/components/preview-kinds.js";
import { markdown } from "/components/markdown.js";
import { readNotebook } from "/components/notebook-cells.js";
import { empty, failed, loading } from "/components/states.js";
import "/components/notebook-view.js";

const HEAD_BYTES = 64 * 1024;
const WHOLE_BYTES = 20 * 1024 * 1024; // A larger notebook is shown as the text that it is.

class FilePreview extends Element {
  start() {
    this.onRemoved(() => this.abort?.abort());
  }

  view() {
    if (!this.file) return nothing;
    const subject = `${this.source.key}/${this.file.path}/${this.file.blake3 ?? this.file.etag}`;
    if (subject !== this.subject) {
      this.subject = subject;
      this.#load();
    }
    if (this.problem) return failed(this.problem, () => this.#load());
    if (!this.shown) return loading(5);
    return this.shown;
  }

  async #load() {
    this.abort?.abort();
    const { signal } = (this.abort = new AbortController());
    this.shown = this.problem = null;
    this.update();
    try {
      const shown = await this.#draw(signal);
      if (!signal.aborted) this.shown = shown;
    } catch (problem) {
      if (signal.aborted) return;
      this.problem = problem;
    }
    this.update();
  }

  async #draw(signal) {
    const { file } = this;
    if (file.kind === "link") return empty({ icon: "link", title: "A symbolic link", text: `It leads to ${file.target}, which is looked up inside the container only.` });
    if (file.bytes === 0) return empty({ icon: "file", title: "An empty file" });
    const kind = kindOf(file.path);
    if (kind === "image") return this.#image();
    if (kind === "parquet") return this.#parquet(signal);
    if (kind === "notebook" && file.bytes <= WHOLE_BYTES) return this.#notebook(signal);
    const { content } = await this.source.range(file, 0, HEAD_BYTES, signal);
    const whole = content.length >= file.bytes;
    const text = textOf(content, whole);
    if (text === null) return empty({ icon: "file", title: "Not text", text: "Nothing of it can be shown here. Download it to open it elsewhere." });
    if (kind === "markdown" && whole) return html`<div class="preview-markdown">${markdown(text)}</div>`;
    const table = kind === "csv" ? csvTable(text, whole) : kind === "jsonl" ? jsonlTable(text, whole) : null;
    return table?.columns.length ? this.#table(table) : this.#text(text, whole);
  }

  async #notebook(signal) {
    const { content } = await this.source.range(this.file, 0, this.file.bytes, signal);
    const text = textOf(content, true);
    const read = text === null ? null : readNotebook(text);
    return read ? html`<notebook-view .notebook=${read}></notebook-view>` : this.#text((text ?? "").slice(0, HEAD_BYTES), false);
  }

  #image() {
    const broken = () => {
      this.shown = empty({ icon: "image", title: "It cannot be drawn", text: "The file is not the picture that its name says, or it is too large for the browser." });
      this.update();
    };
    return html`<div class="preview-image"><img src=${this.source.address(this.file)} alt=${this.file.path} @error=${broken}></div>`;
  }

  async #parquet(signal) {
    const { parquetHead } = await import("/components/parquet-head.js");
    const read = async (start, end) => (await this.source.range(this.file, start, end, signal)).content;
    try {
      return this.#table(await parquetHead(this.file.bytes, read));
    } catch (cause) {
      if (signal.aborted || cause.status !== undefined) throw cause;
      return empty({ icon: "table", title: "It cannot be read as Parquet", text: cause.message });
    }
  }

  #table({ columns, rows, more, total, left = 0 }) {
    const words = [more ? `The first ${count(rows.length, "row")}` : count(rows.length, "row"), total ? `of ${integer(total)}` : "", left ? `without ${count(left, "further column")}, too wide to fetch here` : ""];
    return html`
      <div class="preview-table" tabindex="0" role="region" aria-label="Head of ${this.file.path}"><table>
        <thead><tr>${columns.map((column) => html`<th>${column}</th>`)}</tr></thead>
        <tbody>${rows.map((row) => html`<tr>${columns.map((_, i) => html`<td title=${row[i] ?? ""}>${row[i] ?? ""}</td>`)}</tr>`)}</tbody>
      </table></div>
      <p class="preview-foot tiny quiet">${words.filter(Boolean).join(" ")}</p>`;
  }

  #text(text, whole) {
    return html`
      <pre class="preview-text" tabindex="0" role="region" aria-label="Head of ${this.file.path}">${text}</pre>
      ${whole ? nothing : html`<p class="preview-foot tiny quiet">The first ${bytes(HEAD_BYTES)} of ${bytes(this.file.bytes)}</p>`}`;
  }
}

reactive(FilePreview, ["source", "file"]);
customElements.define("file-preview", FilePreview);
