// <time-left until="2026-01-01T00:00:00Z">: how long until then, counted down; the exact time on hover.
import { duration, moment } from "/format.js";

const shown = new Set();
setInterval(() => document.hidden || shown.forEach((element) => element.draw()), 1000);

class TimeLeft extends HTMLElement {
  static observedAttributes = ["until"];

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
    const until = this.getAttribute("until");
    const seconds = Math.max(0, Math.floor((Date.parse(until) - Date.now()) / 1000));
    const text = seconds === 0 ? "a moment" : duration(seconds);
    if (text !== this.textContent) this.textContent = text;
    this.title = moment(until);
  }
}
customElements.define("time-left", TimeLeft);
