// <file-tree .rows=${TreeRows} .selected=${path}>: a version's files as a tree, drawn only where one
// looks. Emits "pick" with the entry. One stop of the keyboard: arrows walk, right and left open and close.
import { html, nothing, repeat } from "/html.js";
import { bytes } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { empty, failed, loading } from "/components/states.js";
import "/components/ui-icon.js";

const ROW_PIXELS = 30;
const SPARE_ROWS = 12;
const ICONS = { directory: "folder", link: "link", file: "file" };
// Browsers stop drawing beyond some 17 million pixels; before that, rows share pixels.
const TALLEST_PIXELS = 12_000_000;

class FileTree extends Element {
  active = 0; // The row that the keyboard is at.

  start() {
    this.addEventListener("scroll", () => this.update(), { passive: true });
    this.addEventListener("keydown", this.#key);
    this.addEventListener("focus", () => this.update());
    this.addEventListener("blur", () => this.update());
    this.setAttribute("role", "tree");
    this.setAttribute("aria-label", "Files");
    this.tabIndex = 0;
    const watch = new ResizeObserver(() => this.update());
    watch.observe(this);
    this.onRemoved(() => watch.disconnect());
  }

  view() {
    if (this.watched !== this.rows) this.#watch();
    const { rows, root } = this.rows;
    if (root.problem && !root.children.length) return failed(root.problem, () => this.rows.more(root));
    if (!root.begun) return loading(6);
    if (!rows.length) return this.none ?? empty({ icon: "folder-open", title: "No files" });
    const scale = Math.max(1, (rows.length * ROW_PIXELS) / TALLEST_PIXELS);
    const top = (this.scrollTop * scale) / ROW_PIXELS;
    const first = Math.max(0, Math.floor(top) - SPARE_ROWS);
    const last = Math.min(rows.length - 1, Math.ceil(top + this.clientHeight / ROW_PIXELS) + SPARE_ROWS);
    const shown = [];
    for (let at = first; at <= last; at += 1) shown.push(at);
    for (const at of shown) if (rows[at].more && !rows[at].more.problem) queueMicrotask(() => this.rows.more(rows[at].more));
    this.active = Math.min(this.active, rows.length - 1);
    this.setAttribute("aria-activedescendant", `tree-row-${this.active}`);
    const shift = this.scrollTop - (top - first) * ROW_PIXELS;
    return html`
      <div class="sizer" .style=${`height: ${(rows.length * ROW_PIXELS) / scale}px`}></div>
      <div class="rows" role="none" .style=${`transform: translateY(${Math.max(0, shift)}px)`}>
        ${repeat(shown, (at) => at, (at) => (rows[at].more ? this.#more(rows[at].more, at) : this.#row(rows[at].node, at)))}
      </div>`;
  }

  #watch() {
    this.watched?.removeEventListener("change", this.#changed);
    this.watched = this.rows;
    this.watched.addEventListener("change", this.#changed);
    this.active = 0;
    this.scrollTop = 0;
  }

  #changed = () => this.update();

  #row(node, at) {
    const isDirectory = node.kind === "directory";
    const selected = !isDirectory && node.path === this.selected;
    return html`
      <div class="tree-row" id="tree-row-${at}" role="treeitem" data-kind=${node.kind} aria-level=${node.depth + 1} aria-expanded=${isDirectory ? String(node.open) : nothing} aria-selected=${selected ? "true" : "false"}
        ?data-active=${at === this.active} .style=${`--depth: ${node.depth}`} title=${node.path} @click=${() => this.#press(node, at)}>
        ${isDirectory ? html`<ui-icon class="twist" name=${node.open ? "chevron-down" : "chevron-right"} size="s"></ui-icon>` : html`<span class="twist"></span>`}
        <ui-icon name=${isDirectory && node.open ? "folder-open" : ICONS[node.kind]} size="s"></ui-icon>
        <span class="cut">${node.name}${node.kind === "link" ? html`<span class="quiet"> → ${node.target}</span>` : nothing}</span>
        <span class="size quiet">${node.kind === "file" ? bytes(node.bytes) : ""}</span>
      </div>`;
  }

  #more(node, at) {
    const indent = `--depth: ${node.depth + 1}`;
    if (node.problem) {
      return html`<div class="tree-row more-row" id="tree-row-${at}" role="treeitem" aria-level=${node.depth + 2} ?data-active=${at === this.active} .style=${indent} @click=${() => this.rows.more(node)}><span class="twist"></span><ui-icon name="circle-alert" size="s"></ui-icon><span class="cut">${node.problem.detail} Press to try again.</span></div>`;
    }
    return html`<div class="tree-row more-row" id="tree-row-${at}" role="treeitem" aria-level=${node.depth + 2} ?data-active=${at === this.active} .style=${indent}><span class="twist"></span><span class="quiet">More are being fetched…</span></div>`;
  }

  #press(node, at) {
    this.active = at;
    if (node.kind === "directory") this.rows.toggle(node);
    else this.#pick(node);
    this.update();
  }

  #pick(node) {
    this.dispatchEvent(new CustomEvent("pick", { detail: node }));
  }

  #key = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.rows.rows.length) return;
    const row = this.rows.rows[this.active];
    const page = Math.max(1, Math.floor(this.clientHeight / ROW_PIXELS) - 1);
    const last = this.rows.rows.length - 1;
    const moves = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: last };
    if (event.key in moves) this.#moveTo(Math.max(0, Math.min(last, moves[event.key])));
    else if (event.key === "ArrowRight" && row.node?.kind === "directory") row.node.open ? this.#moveTo(Math.min(last, this.active + 1)) : this.rows.toggle(row.node, true);
    else if (event.key === "ArrowLeft" && row.node?.open) this.rows.toggle(row.node, false);
    else if (event.key === "ArrowLeft") this.#moveTo(this.#parentOf(this.active));
    else if ((event.key === "Enter" || event.key === " ") && row.node) this.#press(row.node, this.active);
    else if (event.key === "Enter" && row.more) this.rows.more(row.more);
    else return;
    event.preventDefault();
  };

  #moveTo(at) {
    this.active = at;
    const scale = Math.max(1, (this.rows.rows.length * ROW_PIXELS) / TALLEST_PIXELS);
    const top = (at * ROW_PIXELS) / scale;
    if (top < this.scrollTop) this.scrollTop = top;
    else if (top + ROW_PIXELS > this.scrollTop + this.clientHeight) this.scrollTop = top + ROW_PIXELS - this.clientHeight;
    this.update();
  }

  #parentOf(at) {
    const depth = (row) => (row.node ?? row.more).depth + (row.more ? 1 : 0);
    const mine = depth(this.rows.rows[at]);
    for (let above = at - 1; above >= 0; above -= 1) if (depth(this.rows.rows[above]) < mine) return above;
    return at;
  }
}

reactive(FileTree, ["rows", "selected", "none"]);
customElements.define("file-tree", FileTree);
