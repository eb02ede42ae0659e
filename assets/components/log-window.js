// <log-window .rows=${LogRows}>: the scrolled part of a log. Only the lines in view are elements.
import { appendAnsi } from "/components/ansi.js";
import { moment } from "/format.js";

const LINE_PIXELS = 20;
const SPARE_LINES = 20;
// Browsers cut elements at some 17 million pixels; a longer log is scrolled in proportion.
const MOST_PIXELS = 12_000_000;

/** Emits "follow-changed" (detail: boolean) when scrolling leaves the end or comes back to it. */
class LogWindow extends HTMLElement {
  follow = true;
  marked = null; // The line that the URL names.
  query = "";
  found = new Set();
  #elements = new Map();
  #frame = 0;
  #rows = null;

  connectedCallback() {
    if (!this.sizer) this.#build();
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(this);
  }

  disconnectedCallback() {
    this.resizing.disconnect();
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  set rows(rows) {
    if (rows === this.#rows) return;
    this.#rows = rows;
    this.#clear();
    rows.addEventListener("change", () => rows === this.#rows && this.draw());
    this.draw();
  }

  /** Scrolls a line into the middle of the view and stops following. */
  reveal(line) {
    this.#setFollow(false);
    this.sizer.style.height = `${this.#height()}px`;
    this.#scrollTo(Math.max(0, line - Math.floor(this.#visibleLines() / 2)) / this.#scale());
    this.draw();
  }

  toEnd() {
    this.#setFollow(true);
    this.draw();
  }

  /** Draws anew what a search or a mark changed. */
  restyle() {
    this.#clear();
    this.draw();
  }

  draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#rows && this.isConnected) this.#drawNow();
    });
  }

  #build() {
    this.className = "window";
    this.tabIndex = 0;
    this.setAttribute("role", "log");
    this.setAttribute("aria-label", "Log");
    this.setAttribute("aria-live", "off"); // Hundreds of lines a second are no announcement.
    this.sizer = Object.assign(document.createElement("div"), { className: "sizer" });
    this.list = Object.assign(document.createElement("div"), { className: "rows" });
    this.sizer.append(this.list);
    this.append(this.sizer);
    this.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.addEventListener("wheel", (event) => event.deltaY < 0 && this.#setFollow(false), { passive: true });
    this.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    if (event.key === "End") this.toEnd();
    else if (["Home", "PageUp", "ArrowUp"].includes(event.key)) this.#setFollow(false);
  }

  #scrolled() {
    const atEnd = this.scrollTop + this.clientHeight >= this.scrollHeight - LINE_PIXELS;
    if (atEnd && !this.follow && this.scrollTop > this.lastTop) this.#setFollow(true);
    if (!atEnd && this.scrollTop < this.lastTop) this.#setFollow(false);
    this.lastTop = this.scrollTop;
    this.draw();
  }

  #setFollow(follow) {
    if (follow === this.follow) return;
    this.follow = follow;
    this.dispatchEvent(new CustomEvent("follow-changed", { detail: follow }));
  }

  #height() {
    return Math.min(this.#rows.total * LINE_PIXELS, MOST_PIXELS);
  }

  #visibleLines() {
    return Math.ceil(this.clientHeight / LINE_PIXELS);
  }

  /** Lines for each pixel scrolled: one for twenty, unless the log is too long for that. */
  #scale() {
    const scrollable = this.#height() - this.clientHeight;
    const lines = this.#rows.total - this.clientHeight / LINE_PIXELS;
    return scrollable > 0 && lines > 0 ? lines / scrollable : 1 / LINE_PIXELS;
  }

  /** What is read back is where the browser went, which a person's scrolling is told from. */
  #scrollTo(pixels) {
    this.scrollTop = pixels;
    this.lastTop = this.scrollTop;
  }

  #drawNow() {
    const rows = this.#rows;
    this.sizer.style.height = `${this.#height()}px`;
    this.style.setProperty("--gutter", `${Math.max(3, String(rows.total).length) + 2.5}ch`);
    if (this.follow) this.#scrollTo(this.scrollHeight);
    const top = this.scrollTop * this.#scale();
    const first = Math.max(0, Math.floor(top) - SPARE_LINES);
    const last = Math.min(rows.total - 1, Math.ceil(top) + this.#visibleLines() + SPARE_LINES);
    rows.ensure(first, last);
    const wanted = [];
    for (let line = first; line <= last; line += 1) wanted.push(this.#element(line));
    for (const line of this.#elements.keys()) if (line < first || line > last) this.#elements.delete(line);
    this.#place(wanted);
    this.list.style.transform = `translateY(${this.scrollTop - (top - first) * LINE_PIXELS}px)`;
  }

  /** Moves as little as possible, so that a selection in the text survives. */
  #place(wanted) {
    const kept = new Set(wanted);
    for (const child of [...this.list.children]) if (!kept.has(child)) child.remove();
    let next = this.list.firstChild;
    for (const element of wanted) {
      if (element === next) next = next.nextSibling;
      else this.list.insertBefore(element, next);
    }
  }

  #element(line) {
    const row = this.#rows.row(line);
    const known = this.#elements.get(line);
    if (known && known.row === row) return known;
    const element = this.#lineElement(line, row);
    element.row = row;
    this.#elements.set(line, element);
    return element;
  }

  #lineElement(line, row) {
    const element = document.createElement("div");
    element.className = row ? "line" : "line waiting";
    if (row) element.dataset.stream = row.stream;
    element.classList.toggle("marked", line === this.marked);
    element.classList.toggle("found", this.found.has(line));
    const number = document.createElement("a");
    number.href = `#L${line + 1}`;
    number.textContent = line + 1;
    number.tabIndex = -1; // Thousands of stops would trap the keyboard.
    if (row) number.title = `${moment(row.time)} · ${row.stream}`;
    const words = document.createElement("span");
    if (row) appendAnsi(words, row.text);
    if (row && this.query) highlight(words, this.query);
    element.append(number, words);
    return element;
  }

  #clear() {
    this.#elements.clear();
    this.list?.replaceChildren();
  }
}
customElements.define("log-window", LogWindow);

/** Wraps each place where the text occurs within one run of colour in a <mark>. */
function highlight(element, query) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  const needle = query.toLowerCase();
  for (let text of texts) {
    for (let at; (at = text.data.toLowerCase().indexOf(needle)) >= 0; ) {
      const hit = text.splitText(at);
      text = hit.splitText(query.length);
      const mark = document.createElement("mark");
      hit.replaceWith(mark);
      mark.append(hit);
    }
  }
}
