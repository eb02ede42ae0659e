// <time-left until="2026-01-01T00:00:00Z">: how long until then, counted down; the exact time on hover.
import { Ticking } from "/components/ticking.js";
import { duration, moment } from "/format.js";

class TimeLeft extends Ticking {
  static observedAttributes = ["until"];

  words() {
    const until = this.getAttribute("until");
    this.title = moment(until);
    const seconds = Math.max(0, Math.floor((Date.parse(until) - Date.now()) / 1000));
    return seconds === 0 ? "a moment" : duration(seconds);
  }
}
customElements.define("time-left", TimeLeft);
