// <time-ago at="2026-01-01T00:00:00Z">: how long ago, kept current; the exact time on hover.
// <time-ago at="…" until="…">: how long between the two, counting on while `until` is empty.
import { ago, between, duration, moment } from "/format.js";

const shown = new Set();
setInterval(() => document.hidden || shown.forEach((element) => element.draw()), 1000);

class TimeAgo extends HTMLElement {
  static observedAttributes = ["at", "until"];

  connectedCallback() {
    shown.add(this);
    this.draw();
  }

  disconnectedCallback() {
    shown.delete(this);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.draw();
  }

  draw() {
    const at = this.getAttribute("at");
    const text = this.hasAttribute("until") ? duration(between(at, this.getAttribute("until"))) : ago(at);
    if (text !== this.textContent) this.textContent = text;
    if (at) this.title = moment(at);
  }
}
customElements.define("time-ago", TimeAgo);
