// One experiment: where its latest run stands, all its runs, and the settings that each starts with.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { count, moment } from "/format.js";
import { go } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { JobList } from "/components/job-list.js";
import { isFinished } from "/components/job-words.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { tensorboardButton } from "/components/tensorboard-dialog.js";
import { toast } from "/components/toast-list.js";
import "/components/code-block.js";
import "/components/state-chip.js";
import "/components/time-ago.js";

export default class ExperimentPage extends Page {
  asking = false; // A start or stop is under way.

  start() {
    this.heading = "Experiment";
    this.id = this.route.params.id;
    this.experiment = new Resource(this, () => api.experiment(this.id));
    this.runs = new JobList(this, () => ({ experiment: this.id }));
    this.experiment.load();
    this.runs.load();
    this.watch(["experiment", "job"], (change) => {
      if (change.kind === "experiment" && change.id === this.id && change.change === "deleted") go("/experiments", { replace: true });
      else this.experiment.refresh();
    });
  }

  view() {
    return this.experiment.show((experiment) => this.#experiment(experiment));
  }

  #experiment(experiment) {
    this.heading = experiment.name;
    const run = experiment.latestRun;
    const runs = run && !isFinished(run);
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/experiments">Experiments</a><ui-icon name="chevron-right" size="s"></ui-icon><a href="/projects/${experiment.project.id}">${experiment.project.name}</a></nav>
      <header class="page-head">
        <div class="job-title"><h1>${experiment.name}</h1><state-chip state=${experiment.state} phase=${run?.phase ?? ""} role="status"></state-chip></div>
        <div class="actions">
          ${tensorboardButton({ kind: "experiment", id: experiment.id, title: experiment.name, project: experiment.project.id })}
          ${runs
            ? html`<button class="button danger" ?disabled=${this.asking} @click=${this.#stop}><ui-icon name="square" size="s"></ui-icon>Stop</button>`
            : html`<button class="button danger" @click=${() => this.#delete(experiment)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>
                <button class="button primary" ?disabled=${this.asking} @click=${this.#start}><ui-icon name="play" size="s"></ui-icon>${run ? "Start again" : "Start"}</button>`}
        </div>
      </header>
      <div class="job-summary">
        ${run?.message ? html`<div class="note" data-tone=${runs ? "quiet" : "bad"}><ui-icon name="circle-alert"></ui-icon><div><strong>${run.message}</strong><div class="small soft">Of the latest run, <a class="link" href="/jobs/${run.id}">${run.id}</a></div></div></div>` : nothing}
        <div class="facts-line">${facts(experiment)}</div>
      </div>
      <div class="stack">
        <section class="stack-s"><h2>Runs</h2><div class="card">${this.runs.show(this.#none(), { noProject: true, runs: true })}</div></section>
        <section class="stack-s"><h2>Starts with</h2><p class="quiet small">Every run is a job of these settings. A tag or <code>latest</code> of a dataset means what it means when the run is started; passwords are kept and not shown.</p><code-block label="Settings as JSON" .text=${JSON.stringify(experiment.spec, null, 2)}></code-block></section>
      </div>`;
  }

  #none() {
    return empty({ icon: "play", title: "Not started yet", text: "A start makes a job of the settings below. Its log, charts and artifacts are kept with it.", actions: html`<button class="button" ?disabled=${this.asking} @click=${this.#start}>Start it</button>` });
  }

  #start = () => this.#ask(async () => {
    const run = await api.startExperiment(this.id, crypto.randomUUID());
    toast(`${run.name} was started as ${run.id}.`);
  });

  #stop = () => this.#ask(async () => {
    await api.stopExperiment(this.id);
    toast("The run is being stopped.");
  });

  async #ask(action) {
    this.asking = true;
    this.update();
    try {
      await action();
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.asking = false;
    this.experiment.load();
    this.runs.load();
  }

  async #delete(experiment) {
    const sure = await confirm({ title: `Delete ${experiment.name}?`, text: `${count(experiment.runs, "run")} of it with their logs, charts and artifacts go with it; versions of datasets that they made stay. This cannot be undone.` });
    if (!sure) return;
    try {
      await api.deleteExperiment(this.id);
      toast(`${experiment.name} was deleted.`);
      go("/experiments", { replace: true });
    } catch (problem) {
      toast(problem.detail, "bad");
    }
  }
}

function facts(experiment) {
  const fact = (icon, content, title = "") => html`<span title=${title}><ui-icon name=${icon} size="s"></ui-icon>${content}</span>`;
  return html`
    ${fact("package", html`<code class="cut">${experiment.image ?? "built by each run"}</code>`, "Image")}
    ${fact("cpu", experiment.machineType, "Machine type")}
    ${fact("user", experiment.user.name, "Made by")}
    ${fact("clock", html`made <time-ago at=${experiment.createdAt}></time-ago>`, moment(experiment.createdAt))}
    ${fact("rotate-ccw", count(experiment.runs, "run"))}
    ${experiment.modelType || experiment.modelPath ? fact("box", [experiment.modelType, experiment.modelPath].filter(Boolean).join(" in "), "Model") : nothing}
    ${experiment.tags.length ? html`<span>${experiment.tags.map((tag) => html`<a class="tag" href="/experiments?tag=${encodeURIComponent(tag)}">${tag}</a>`)}</span>` : nothing}`;
}
customElements.define("experiment-page", ExperimentPage);
