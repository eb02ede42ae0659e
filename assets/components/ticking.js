// An element whose words change with time. It draws itself when it is put in, when an attribute that it observes
// changes, and each second that somebody looks. `words()` are its text.
const shown = new Set();
setInterval(() => document.hidden || shown.forEach((element) => element.draw()), 1000);

export class Ticking extends HTMLElement {
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
    const words = this.words();
    if (words !== this.textContent) this.textContent = words;
  }
}
