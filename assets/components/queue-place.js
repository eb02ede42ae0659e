// Why something waits, wherever that is shown: the reason, who holds what it needs, and when it may start.
import { html, nothing } from "/html.js";
import { userName } from "/format.js";
import { runIcon, runName } from "/components/run-name.js";
import "/components/time-ago.js";

/** Who holds what is waited for is named at most so often. */
const NAMED = 6;
const UNUSED = "if nobody uses what can stop by itself";

/** The place of something in the queue, as its own page tells of it. */
export function whyItWaits(queue) {
  return html`<div class="small soft stack-s"><span>${queue.reason}</span>${holders(queue)}${expectation(queue)}</div>`;
}

/** Who holds what is needed, or goes first, with the way to them. */
export function holders({ heldBy = [] }) {
  const [holding, first] = [heldBy.filter(({ waits }) => !waits), heldBy.filter(({ waits }) => waits)];
  const line = (words, runs) => (runs.length ? html`<span class="held-by">${words} ${runs.slice(0, NAMED).map((run, i) => html`${i ? ", " : ""}${runIcon(run)} ${runName(run)} (${userName(run.user)}${end(run)})`)}${runs.length > NAMED ? ` and ${runs.length - NAMED} more` : ""}</span>` : nothing);
  return html`${line("Held by", holding)}${line("Goes first:", first)}`;
}

/** When a holder gives its place back, whatever comes first. */
export function end({ until, idleAt }, separator = ", ") {
  if (idleAt && (!until || idleAt < until)) return html`${separator}<span title="Nobody uses it just now. Whoever does, or a program at work in it, keeps it.">stops <time-ago at=${idleAt}></time-ago> if unused</span>`;
  return until ? html`${separator}ends <time-ago at=${until}></time-ago>` : nothing;
}

function expectation({ expectedStart, expectedIfIdle }) {
  if (expectedStart && expectedIfIdle) return html`<span>Starts <time-ago at=${expectedStart}></time-ago>, or <time-ago at=${expectedIfIdle}></time-ago> ${UNUSED}.</span>`;
  if (expectedStart) return html`<span>Starts <time-ago at=${expectedStart}></time-ago>, if everything runs to its time limit.</span>`;
  return expectedIfIdle ? html`<span>Starts <time-ago at=${expectedIfIdle}></time-ago> ${UNUSED}.</span>` : nothing;
}

/** When it starts, in short; since when it waits where nobody knows. */
export function expectationInShort({ expectedStart, expectedIfIdle, since }) {
  if (expectedIfIdle) return html`<span title="That soon ${UNUSED}">perhaps <time-ago at=${expectedIfIdle}></time-ago></span>`;
  return expectedStart ? html`starts <time-ago at=${expectedStart}></time-ago>` : html`since <time-ago at=${since} until=""></time-ago>`;
}
