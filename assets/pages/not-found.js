// A path that names no page.
import { html } from "/html.js";
import { Page } from "/components/page.js";
import { empty } from "/components/states.js";

export default class NotFoundPage extends Page {
  start() {
    this.heading = "Not found";
  }

  view() {
    return empty({ icon: "search", title: "There is no such page", text: "The address may be mistyped, or what it named was deleted.", actions: html`<a class="button" href="/">Go to the overview</a>` });
  }
}
customElements.define("not-found-page", NotFoundPage);
