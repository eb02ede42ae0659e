// What every component and page shares: render by template, batch updates, end things on removal.
import { render } from "/html.js";

/**
 * A custom element drawn by `view()` into its light DOM. `update()` asks for a new drawing; many
 * calls in one turn draw once. What `onRemoved` collects is ended when the element leaves the page.
 */
export class Element extends HTMLElement {
  #asked = false;
  #endings = [];

  connectedCallback() {
    this.start();
    this.update();
  }

  disconnectedCallback() {
    this.#endings.splice(0).forEach((end) => end());
  }

  /** For subclasses: begins what the element needs; runs each time it enters the page. */
  start() {}

  onRemoved(end) {
    this.#endings.push(end);
  }

  update() {
    if (this.#asked) return;
    this.#asked = true;
    queueMicrotask(() => {
      this.#asked = false;
      if (this.isConnected) {
        render(this.view(), this);
        this.drawn();
      }
    });
  }

  /** For subclasses: runs after each drawing. */
  drawn() {}

  /** Calls `tick` every so many milliseconds while the tab is seen. */
  every(millis, tick) {
    const timer = setInterval(() => document.hidden || tick(), millis);
    this.onRemoved(() => clearInterval(timer));
  }
}

/** Defines properties that ask for a new drawing when set. */
export function reactive(component, names) {
  for (const name of names) {
    const kept = Symbol(name);
    Object.defineProperty(component.prototype, name, {
      get() {
        return this[kept];
      },
      set(value) {
        this[kept] = value;
        this.update();
      },
    });
  }
}
