// What every page has: the route it shows, a title for the tab, and a watch on the box's changes.
import { events } from "/events.js";
import { Element } from "/components/element.js";

export class Page extends Element {
  /** Names the browser's tab. */
  set heading(text) {
    document.title = text ? `${text} · gradientd` : "gradientd";
  }

  /** Calls the listener for each change of these kinds, and after a break, while the page is shown. */
  watch(kinds, listener) {
    this.onRemoved(events.watch(kinds, listener));
  }

  /** The router calls this when another part of the same page is shown. */
  routeChanged() {
    this.update();
  }
}
