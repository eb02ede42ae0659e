// A page whose parts could not be fetched. It is there from the start, for then nothing can be fetched.
import { html } from "/html.js";
import { Page } from "/components/page.js";
import { empty } from "/components/states.js";

export default class NotLoadedPage extends Page {
  start() {
    this.heading = "Not loaded";
  }

  view() {
    return empty({
      icon: "circle-alert",
      title: "This page could not be loaded",
      text: "Check that gradientd runs on the box and that this machine can reach it.",
      actions: html`<button class="button" @click=${() => location.reload()}><ui-icon name="refresh-cw" size="s"></ui-icon>Try again</button>`,
    });
  }
}
customElements.define("not-loaded-page", NotLoadedPage);
