// <toast-list>: short words about what was just done, read out politely and gone after a while.
import { html, repeat } from "/html.js";
import { Element } from "/components/element.js";
import "/components/ui-icon.js";

const SHOWN_MILLIS = 5000;
const LINK_SHOWN_MILLIS = 20_000; // What leads somewhere is to be read and pressed.

const ICONS = { bad: "circle-alert", waiting: "clock" };

class ToastList extends Element {
  toasts = [];

  start() {
    this.setAttribute("aria-live", "polite");
  }

  add(text, tone, href) {
    const toast = { text, tone, href };
    this.toasts = [...this.toasts, toast];
    this.update();
    setTimeout(() => {
      this.toasts = this.toasts.filter((other) => other !== toast);
      this.update();
    }, href ? LINK_SHOWN_MILLIS : SHOWN_MILLIS);
  }

  view() {
    return repeat(this.toasts, (toast) => toast, ({ text, tone, href }) => html`<div class="toast" data-tone=${tone}><ui-icon name=${ICONS[tone] ?? "check"}></ui-icon>${href ? html`<a class="link" href=${href}>${text}</a>` : html`<span>${text}</span>`}</div>`);
  }
}
customElements.define("toast-list", ToastList);

/** Says that something was done, with the tone "bad" that it was not, with "waiting" that it is near. */
export function toast(text, tone = "good", href = null) {
  document.querySelector("toast-list")?.add(text, tone, href);
}
