// <toast-list>: short words about what was just done, read out politely and gone after a while.
import { html, repeat } from "/html.js";
import { Element } from "/components/element.js";
import "/components/ui-icon.js";

const SHOWN_MILLIS = 5000;

class ToastList extends Element {
  toasts = [];

  start() {
    this.setAttribute("aria-live", "polite");
  }

  add(text, tone) {
    const toast = { text, tone };
    this.toasts = [...this.toasts, toast];
    this.update();
    setTimeout(() => {
      this.toasts = this.toasts.filter((other) => other !== toast);
      this.update();
    }, SHOWN_MILLIS);
  }

  view() {
    return repeat(this.toasts, (toast) => toast, ({ text, tone }) => html`<div class="toast" data-tone=${tone}><ui-icon name=${tone === "bad" ? "circle-alert" : "check"}></ui-icon><span>${text}</span></div>`);
  }
}
customElements.define("toast-list", ToastList);

/** Says that something was done, or with the tone "bad" that it was not. */
export function toast(text, tone = "good") {
  document.querySelector("toast-list")?.add(text, tone);
}
