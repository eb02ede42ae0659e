// <terminal-screen .workload=${id} .terminal=${id}>: one terminal, drawn. Tells `ended` when it is over and
// `leave` when somebody goes out of it by the keyboard.
import { html, nothing } from "/html.js";
import { Element } from "/components/element.js";
import "/components/terminal-styles.js";
import { TerminalLink } from "/components/terminal-link.js";
import { terminalTheme, watchTheme } from "/components/terminal-theme.js";
import { FitAddon } from "/vendor/xterm-addon-fit@0.11.0/lib/addon-fit.mjs";
import { Terminal } from "/vendor/xterm@6.0.0/lib/xterm.mjs";

const FONT = '"Geist Mono", ui-monospace, "SF Mono", "Cascadia Mono", Menlo, monospace';
const FONT_PIXELS = 13;
const LINES_KEPT = 5000;
/** The largest message that the box reads is a MiB. */
const PASTE_BYTES = 256 << 10;

const ENDS = {
  closed: "It was closed.",
  abandoned: "It was closed because nobody had looked at it for long.",
  shutdown: "It ended because the daemon was stopped.",
  gone: "It is gone: its container has ended, or the daemon was started anew.",
};

class TerminalScreen extends Element {
  #encoder = new TextEncoder();
  #replayLeft = 0;
  #replaying = 0;

  start() {
    this.link = new TerminalLink(this.workload, this.terminal);
    this.link.addEventListener("state", () => this.#moved());
    this.link.addEventListener("attached", ({ detail }) => this.#attached(detail));
    this.link.addEventListener("shown", ({ detail }) => this.#shown(detail));
    this.onRemoved(() => this.link.close());
    this.#open();
  }

  async #open() {
    // Measured before the face is there, its characters would not fit their cells.
    await Promise.all([document.fonts.load(`${FONT_PIXELS}px "Geist Mono"`), document.fonts.load(`bold ${FONT_PIXELS}px "Geist Mono"`)]).catch(() => {});
    if (!this.isConnected) return;
    const term = new Terminal({
      fontFamily: FONT, fontSize: FONT_PIXELS, lineHeight: 1.2, scrollback: LINES_KEPT,
      theme: terminalTheme(), cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      macOptionIsMeta: true, scrollOnUserInput: true,
    });
    const fit = new FitAddon();
    term.loadAddon(fit);
    term.open(this.querySelector(".screen"));
    term.attachCustomKeyEventHandler((event) => this.#key(event));
    // What the past asks of a terminal was answered when it was the present.
    term.onData((text) => this.#replaying || this.#type(this.#encoder.encode(text)));
    term.onBinary((text) => this.#replaying || this.#type(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    term.onResize((size) => this.link.resize(size));
    Object.assign(this, { term, fit });
    this.onRemoved(watchTheme(() => (term.options.theme = terminalTheme())));
    const watcher = new ResizeObserver(() => this.#fitSoon());
    watcher.observe(this.querySelector(".screen"));
    this.onRemoved(() => watcher.disconnect());
    this.onRemoved(() => term.dispose());
    fit.fit();
    this.link.open();
    this.focusSoon();
  }

  /** Takes the keyboard, if it is seen. */
  focusSoon() {
    if (!this.hidden) this.term?.focus();
  }

  #fitSoon() {
    if (this.fitting) return;
    this.fitting = requestAnimationFrame(() => {
      this.fitting = null;
      if (this.isConnected && this.querySelector(".screen").clientWidth) this.fit.fit();
    });
  }

  #type(bytes) {
    for (let at = 0; at < bytes.length; at += PASTE_BYTES) this.link.type(bytes.subarray(at, at + PASTE_BYTES));
  }

  #attached(replay) {
    this.#replayLeft = replay;
    this.term.reset();
    this.link.resize(this.term);
  }

  #shown(bytes) {
    const old = bytes.subarray(0, this.#replayLeft);
    this.#replayLeft -= old.length;
    if (old.length) {
      this.#replaying += 1;
      this.#draw(old, () => (this.#replaying -= 1));
    }
    if (old.length < bytes.length) this.#draw(bytes.subarray(old.length));
  }

  #draw(bytes, drawn) {
    this.term.write(bytes, () => {
      this.link.drew(bytes.length);
      drawn?.();
    });
  }

  #moved() {
    if (this.link.state === "ended") this.dispatchEvent(new CustomEvent("ended"));
    if (this.term) this.term.options.disableStdin = this.link.state !== "open";
    this.update();
  }

  /** Says whether the terminal gets the key; what it does not get is the browser's. */
  #key(event) {
    const control = event.ctrlKey && !event.altKey && !event.metaKey;
    const key = event.key.toLowerCase();
    if (event.key === "Escape" && event.shiftKey) {
      if (event.type === "keydown") this.dispatchEvent(new CustomEvent("leave"));
      return false;
    }
    // With the browser's own copy and paste, which needs no permission.
    if (control && key === "v") return false;
    if (control && key === "c" && this.term.hasSelection()) {
      if (event.shiftKey && event.type === "keydown") {
        event.preventDefault();
        navigator.clipboard?.writeText(this.term.getSelection());
      }
      return false;
    }
    return true;
  }

  view() {
    return html`<div class="screen"></div>${this.#notice()}`;
  }

  #notice() {
    const { state, end } = this.link;
    const notice = (words, action = nothing) => html`<div class="notice" role="status">${words}${action}</div>`;
    const again = (words) => html`<button class="button small" @click=${() => this.link.retry()}>${words}</button>`;
    switch (state) {
      case "open":
        return nothing;
      case "connecting":
        return notice("Connecting…");
      case "waiting":
        return notice("The connection was cut. What runs here runs on; reconnecting…", again("Try now"));
      case "replaced":
        return notice("You have this terminal open in another tab or browser.", again("Use it here"));
      case "refused":
        return notice(`The box closed the connection: ${end.why}.`, again("Try again"));
      default:
        return notice(this.#ending(end));
    }
  }

  #ending(end) {
    if (end.why === "exited") return end.code ? `The shell has exited with code ${end.code}.` : "The shell has exited.";
    if (end.why === "lost") return `The box lost the terminal: ${end.message}`;
    return ENDS[end.why] ?? "It is over.";
  }
}
customElements.define("terminal-screen", TerminalScreen);
