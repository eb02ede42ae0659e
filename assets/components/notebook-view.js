// <notebook-view .notebook=${readNotebook(…)}>: an .ipynb as it is read: cells with their outputs, nothing run.
import { html, nothing } from "/html.js";
import { count } from "/format.js";
import { appendAnsi } from "/components/ansi.js";
import { Element, reactive } from "/components/element.js";
import { markdown } from "/components/markdown.js";

class NotebookView extends Element {
  view() {
    const { cells, language, left } = this.notebook;
    return html`
      <p class="tiny quiet about">${count(cells.length, "cell")}${language ? ` · ${language}` : ""} · as saved, nothing is run here</p>
      ${cells.map(cellView)}
      ${left ? html`<p class="small quiet about">and ${count(left, "cell")} more</p>` : nothing}`;
  }
}

function cellView(cell) {
  if (cell.kind === "markdown") return html`<section class="cell prose">${markdown(cell.source, { attachment: (name) => cell.attachments[name] ?? null })}</section>`;
  if (cell.kind === "raw") return html`<section class="cell"><pre class="source">${cell.source}</pre></section>`;
  return html`
    <section class="cell code" aria-label="Cell ${cell.number ?? "never run"}">
      <span class="count mono tiny quiet" aria-hidden="true">[${cell.number ?? " "}]</span>
      <pre class="source" tabindex="0">${cell.source}</pre>
      ${cell.outputs.length ? html`<div class="outputs">${cell.outputs.map(outputView)}</div>` : nothing}
    </section>`;
}

function outputView(output) {
  switch (output.kind) {
    case "picture":
      return html`<img src=${output.source} alt=${output.words}>`;
    case "markdown":
      return html`<div class="prose">${markdown(output.text)}</div>`;
    case "hidden":
      return html`<details><summary class="tiny quiet">${output.types.join(", ") || "An output"} is not shown here; open the notebook to see it</summary>${output.text ? html`<pre>${output.text}</pre>` : nothing}</details>`;
    default:
      return html`<pre data-stream=${output.kind === "error" ? "error" : output.stream} tabindex="0">${terminal(output.text)}</pre>${output.more ? html`<p class="tiny quiet">It has more than text, which is shown when the notebook is open.</p>` : nothing}`;
  }
}

/** What a terminal would show: colours, and lines that were rewritten as they ended. */
function terminal(text) {
  const shown = document.createDocumentFragment();
  const lines = text.replace(/\n$/, "").split("\n");
  lines.forEach((line, i) => {
    const row = document.createElement("span");
    appendAnsi(row, line);
    shown.append(row, i < lines.length - 1 ? "\n" : "");
  });
  return shown;
}

reactive(NotebookView, ["notebook"]);
customElements.define("notebook-view", NotebookView);
