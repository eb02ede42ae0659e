// <job-timeline .job=${…}>: where a job's time went: waiting, setup, running, teardown.
import { html, nothing } from "/html.js";
import { between, duration } from "/format.js";
import { Element, reactive } from "/components/element.js";

const NAMES = { waiting: "Waited", setup: "Setup", running: "Ran", teardown: "Teardown" };

/** The job's parts in order, each with its seconds; a part that goes on counts up to now. */
export function timelineParts(job, now = new Date().toISOString()) {
  const finished = ["stopped", "failed", "error", "cancelled"].includes(job.state);
  const end = job.teardownFinishedAt ?? job.finishedAt ?? (finished ? job.createdAt : now);
  const setupEnd = job.setupFinishedAt ?? job.startedAt ?? end;
  const setup = job.setupStartedAt ? between(job.setupStartedAt, setupEnd) : 0;
  const running = job.startedAt ? between(job.startedAt, job.finishedAt ?? end) : 0;
  const teardown = job.teardownStartedAt ? between(job.teardownStartedAt, job.teardownFinishedAt ?? end) : 0;
  const whole = between(job.createdAt, end);
  // Waiting is what is left: a job may wait before its setup, between setup and start, and between attempts.
  const waiting = Math.max(0, whole - setup - running - teardown);
  return { waiting, setup, running, teardown };
}

class JobTimeline extends Element {
  start() {
    this.every(1000, () => this.job?.phase && this.update());
  }

  view() {
    if (!this.job) return nothing;
    const parts = Object.entries(timelineParts(this.job)).filter(([, seconds]) => seconds >= 0.05);
    return html`
      <div class="track" aria-hidden="true">${parts.map(([part, seconds]) => html`<div class="part" data-part=${part} .style=${`flex-grow: ${seconds}`}></div>`)}</div>
      <div class="legend">${parts.map(([part, seconds]) => html`<span><i data-part=${part}></i>${NAMES[part]} <b>${duration(seconds)}</b></span>`)}</div>`;
  }
}

reactive(JobTimeline, ["job"]);
customElements.define("job-timeline", JobTimeline);
