// <session-end .notebook=${…}>: when its session ends and why, what counted last as activity, and more
// time. Emits "changed" when more was given. With of="tensorboard", of one of those.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { duration } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { extended, firstEnd, isNear } from "/components/notebook-words.js";
import { toast } from "/components/toast-list.js";
import "/components/time-ago.js";
import "/components/time-left.js";

const HOUR = 3600;
const STEPS = [HOUR, 4 * HOUR, 12 * HOUR];
const LOOK_MILLIS = 15_000;
const WORDS = {
  notebook: { idle: "if nothing is done", moves: "Any work in a kernel or a terminal moves that." },
  tensorboard: { idle: "if nobody looks at it", moves: "Every look at it, and work in a terminal, moves that." },
};

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "2-digit", minute: "2-digit" });

class SessionEnd extends Element {
  start() {
    this.every(LOOK_MILLIS, () => this.update()); // So that it warns when the end comes near.
  }

  get words() {
    return WORDS[this.getAttribute("of") ?? "notebook"];
  }

  view() {
    const { session } = this.notebook;
    const end = firstEnd(session);
    const near = isNear(session);
    const teardown = this.notebook.phase === "teardown";
    if (teardown) return nothing;
    return html`
      <div class="note session-end" data-tone=${near ? "waiting" : "quiet"} role=${near ? "alert" : "group"} aria-label="When it stops">
        <ui-icon name="clock"></ui-icon>
        <div class="grow">
          <strong>${this.#headline(end)}</strong>
          ${end ? html`<div class="small soft">${this.#why(session, end)}</div>` : nothing}
          ${session.activity ? html`<div class="small soft">Last activity <time-ago at=${session.activity.at}></time-ago>: ${session.activity.what}</div>` : nothing}
        </div>
        ${session.shutsDownAt ? html`<div class="row extend" role="group" aria-label="More time">${STEPS.map((step) => this.#more(session, step))}</div>` : nothing}
      </div>`;
  }

  #headline(end) {
    if (!end) return this.notebook.ready ? "It runs until somebody stops it" : "Its time begins when it runs";
    return end.idle ? html`Stops in <time-left until=${end.at}></time-left> ${this.words.idle}` : html`Stops in <time-left until=${end.at}></time-left>`;
  }

  #why(session, end) {
    if (!end.idle) return html`At ${when(end.at)}, when its time is over.${this.notebook.spec.idleSeconds === null ? " It is not stopped for being idle." : nothing}`;
    const latest = session.shutsDownAt ? html` At the latest in <time-left until=${session.shutsDownAt}></time-left>, at ${when(session.shutsDownAt)}.` : nothing;
    return html`${this.words.moves}${latest}`;
  }

  #more(session, step) {
    const seconds = extended(session, step);
    const until = when(new Date(Date.now() + seconds * 1000).toISOString());
    return html`<button type="button" class="button small" ?disabled=${this.busy} title=${`It would stop at ${until} at the latest`} @click=${() => this.#extend(step)}>+${duration(step)}</button>`;
  }

  async #extend(step) {
    this.busy = true;
    try {
      const { session } = await api.extendNotebook(this.notebook.id, extended(this.notebook.session, step));
      toast(`It stops at ${when(session?.shutsDownAt)} at the latest.`);
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
    this.busy = false;
    this.dispatchEvent(new CustomEvent("changed"));
  }
}

/** A time of the next hours by the clock, of later days with their names. */
function when(time) {
  const at = new Date(time);
  return (at.toDateString() === new Date().toDateString() ? clock : dayAndClock).format(at);
}

reactive(SessionEnd, ["notebook", "busy"]);
customElements.define("session-end", SessionEnd);
