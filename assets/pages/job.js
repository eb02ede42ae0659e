// One job: where it stands and why, and its log, charts, metrics, artifacts and spec.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { bytes, cores, duration, moment } from "/format.js";
import { go } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { isFinished, jobNote } from "/components/job-words.js";
import { jobData } from "/components/job-data.js";
import { memoryNote } from "/components/memory-note.js";
import { openWorkload } from "/components/open-workload.js";
import { Page } from "/components/page.js";
import { whyItWaits } from "/components/queue-place.js";
import { Resource } from "/components/resource.js";
import { tensorboardButton } from "/components/tensorboard-dialog.js";
import { toast } from "/components/toast-list.js";
import "/components/job-timeline.js";
import "/components/log-view.js";
import "/components/meter-bar.js";
import "/components/state-chip.js";
import "/components/terminal-view.js";
import "/components/time-ago.js";
import "/pages/job-artifacts.js";
import "/pages/job-charts.js";
import "/pages/job-metrics.js";
import "/pages/job-spec.js";

const TABS = { log: "Log", terminal: "Terminal", charts: "Charts", metrics: "Metrics", artifacts: "Artifacts", spec: "Spec" };

export default class JobPage extends Page {
  start() {
    this.heading = "Job";
    this.id = this.route.params.id;
    this.job = new Resource(this, () => api.job(this.id));
    this.job.load();
    this.watch(["job", "queue"], (change) => this.#changed(change));
  }

  #changed(change) {
    if (change.kind === "job" && change.id !== this.id) return;
    if (change.kind === "queue" && this.job.value?.phase !== "queued") return;
    if (change.change === "deleted") return go("/jobs", { replace: true });
    this.job.refresh();
  }

  view() {
    return this.job.show((job) => this.#job(job));
  }

  #job(job) {
    this.heading = job.name;
    const tab = TABS[this.route.params.tab] ? this.route.params.tab : "log";
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/jobs">Jobs</a><ui-icon name="chevron-right" size="s"></ui-icon><a href="/projects/${job.project.id}">${job.project.name}</a></nav>
      <header class="page-head">
        <div class="job-title"><h1>${job.name}</h1><state-chip state=${job.state} phase=${job.phase ?? ""} role="status"></state-chip></div>
        <div class="actions">
          ${isFinished(job) ? nothing : html`<button class="button danger" ?disabled=${this.stopping} @click=${this.#stop}><ui-icon name="square" size="s"></ui-icon>${this.stopping ? "Stopping…" : "Stop"}</button>`}
          ${tensorboardButton({ kind: "job", id: job.id, title: job.name, project: job.project.id })}
          <a class="button" href="/jobs/new?clone=${job.id}"><ui-icon name="copy" size="s"></ui-icon>Clone</a>
          ${isFinished(job) ? html`<button class="button danger" @click=${() => this.#delete(job)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>` : nothing}
        </div>
      </header>
      <div class="job-summary">
        ${this.#note(job)} ${this.#progress(job)} ${memoryNote(job.memoryKills)}
        <div class="facts-line">${this.#facts(job)}</div>
        ${jobData(job)}
        <job-timeline .job=${job}></job-timeline>
      </div>
      <nav class="tabs" aria-label="Parts of the job">
        ${Object.entries(TABS).map(([name, title]) => html`<a href="/jobs/${job.id}${name === "log" ? "" : `/${name}`}" aria-current=${name === tab ? "page" : nothing}>${title}</a>`)}
      </nav>
      ${this.#tab(tab, job)}`;
  }

  #note(job) {
    const note = jobNote(job);
    if (!note) return nothing;
    return html`<div class="note" data-tone=${note.tone} role="status"><ui-icon name=${note.icon}></ui-icon><div><strong>${note.title}</strong>${note.queue ? whyItWaits(note.queue) : note.text ? html`<div class="small soft">${note.text}</div>` : nothing}</div></div>`;
  }

  #progress({ progress }) {
    if (!progress) return nothing;
    const { what, doneBytes, totalBytes } = progress;
    return html`<meter-bar .label=${what} .text=${totalBytes ? `${bytes(doneBytes)} of ${bytes(totalBytes)}` : doneBytes ? bytes(doneBytes) : ""} .value=${totalBytes ? doneBytes / totalBytes : 0}></meter-bar>`;
  }

  #facts(job) {
    const { resources } = job;
    const fact = (icon, content, title = "") => html`<span title=${title}><ui-icon name=${icon} size="s"></ui-icon>${content}</span>`;
    return html`
      ${fact("package", html`<code class="cut">${job.image}</code>`, "Image")}
      ${fact("cpu", `${job.machineType}: ${cores(resources?.cpuMillis)}, ${bytes(resources?.memoryBytes)}`, "Machine type")}
      ${job.gpus?.length ? fact("microchip", job.gpus.map((gpu) => `${gpu.name ?? "a GPU since removed"}${gpu.index === null ? "" : ` #${gpu.index}`}`).join(", "), job.gpus.map((gpu) => gpu.uuid).join("\n")) : nothing}
      ${fact("user", job.user.name, "Made by")}
      ${fact("clock", html`made <time-ago at=${job.createdAt}></time-ago>`, moment(job.createdAt))}
      ${isFinished(job) && job.exitCode !== null ? fact("terminal", `exit code ${job.exitCode}`) : nothing}
      ${job.attempts > 1 ? fact("refresh-cw", `attempt ${job.attempt} of ${job.attempts}`) : nothing}
      ${job.timeLimitSeconds ? fact("gauge", `limit ${duration(job.timeLimitSeconds)}`, "Time limit") : nothing}
      ${job.priority ? fact("chevron-up", `priority ${job.priority}`) : nothing}
      ${job.ports?.map((port) => fact("link", html`port ${port.container} ${job.state === "running" ? html`<button type="button" class="link" @click=${() => openWorkload(job.id, { port: port.container })}>open</button>` : nothing}`))}
      ${job.experiment ? fact("rotate-ccw", html`run of <a class="link" href="/experiments/${job.experiment}">${job.experiment}</a>`, "Experiment") : nothing}
      ${job.cloneOf ? fact("copy", html`clone of <a class="link" href="/jobs/${job.cloneOf}">${job.cloneOf}</a>`) : nothing}
      ${job.tags?.length ? html`<span>${job.tags.map((tag) => html`<a class="tag" href="/jobs?tag=${encodeURIComponent(tag)}">${tag}</a>`)}</span>` : nothing}`;
  }

  #tab(tab, job) {
    switch (tab) {
      case "terminal":
        return html`<terminal-view .workload=${job.id} .run=${job.id} .why=${whyNoTerminal(job)}></terminal-view>`;
      case "charts":
        return html`<job-charts .job=${job}></job-charts>`;
      case "metrics":
        return html`<job-metrics .job=${job}></job-metrics>`;
      case "artifacts":
        return html`<job-artifacts .job=${job} .path=${this.route.query.get("path") ?? ""}></job-artifacts>`;
      case "spec":
        return html`<job-spec .job=${job}></job-spec>`;
      default:
        return html`<log-view .job=${job} .anchor=${anchoredLine(this.route.hash)}></log-view>`;
    }
  }

  #stop = async () => {
    this.stopping = true;
    this.update();
    try {
      await api.stopJob(this.id);
      toast("The job is being stopped.");
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.stopping = false;
    this.job.load();
  };

  async #delete(job) {
    const sure = await confirm({ title: `Delete ${job.name}?`, text: "Its log, charts, metrics and artifacts go with it. This cannot be undone." });
    if (!sure) return;
    try {
      await api.deleteJob(this.id);
      toast(`${job.name} was deleted.`);
      go("/jobs", { replace: true });
    } catch (problem) {
      toast(problem.detail, "bad");
    }
  }
}

/** Why no terminal can be opened in the job, or nothing. */
function whyNoTerminal(job) {
  if (job.state === "running") return null;
  if (isFinished(job)) return "The job is over, and its container is gone. Clone it, and open a terminal while the new one runs.";
  return "The job does not run yet. A terminal can be opened as soon as it does.";
}

/** "#L12" names the twelfth line, which the API counts from 0. */
function anchoredLine(hash) {
  const found = /^#L(\d+)$/.exec(hash);
  return found ? Math.max(0, Number(found[1]) - 1) : null;
}

customElements.define("job-page", JobPage);
