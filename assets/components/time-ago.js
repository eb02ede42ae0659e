// <time-ago at="2026-01-01T00:00:00Z">: how long ago, kept current; the exact time on hover.
// <time-ago at="…" until="…">: how long between the two, counting on while `until` is empty.
import { Ticking } from "/components/ticking.js";
import { ago, between, duration, moment } from "/format.js";

class TimeAgo extends Ticking {
  static observedAttributes = ["at", "until"];

  words() {
    const at = this.getAttribute("at");
    if (at) this.title = moment(at);
    return this.hasAttribute("until") ? duration(between(at, this.getAttribute("until"))) : ago(at);
  }
}
customElements.define("time-ago", TimeAgo);
