// All experiments, filtered by what the URL says, and how the first one is made.
import { html, nothing, repeat } from "/html.js";
import { api, addresses } from "/api.js";
import { commandText, count, postAsCurl } from "/format.js";
import { ListPage } from "/components/list-page.js";
import { empty } from "/components/states.js";
import "/components/code-block.js";
import "/components/state-chip.js";
import "/components/time-ago.js";

const FILTERS = ["q", "tag", "project"];
const FIRST = { spec: { name: "digits", image: "python:3.12-slim", command: "echo hello" }, start: true };

export default class ExperimentsPage extends ListPage {
  start() {
    super.start();
    this.heading = "Experiments";
    this.watch(["experiment", "job"], () => this.list.refresh());
  }

  fetchPage(part) {
    return api.experiments({ ...Object.fromEntries(FILTERS.map((name) => [name, this.route.query.get(name)])), ...part });
  }

  view() {
    return html`
      <header class="page-head"><div><h1>Experiments</h1><p>Settings of a job that are kept, to be run again and again.</p></div></header>
      <div class="filters" role="search" aria-label="Filter experiments">
        ${this.search("experiments")}
        ${this.tagFilter()}
      </div>
      <div class="card">${this.list.show(({ items }) => (items.length ? this.#table(items) : this.#none()))}</div>`;
  }

  #table(items) {
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Experiment</th><th>State</th><th class="hide-narrow">Project</th><th class="hide-narrow">Machine</th><th class="number hide-narrow">Runs</th><th class="number">Latest run</th></tr></thead>
        <tbody>${repeat(items, (experiment) => experiment.id, row)}</tbody>
      </table></div>
      ${this.more("Show older experiments")}`;
  }

  #none() {
    if (FILTERS.some((name) => this.route.query.get(name))) {
      return empty({ icon: "search", title: "No experiment fits these filters", text: "Take one away to see more.", actions: html`<a class="button small" href="/experiments">Clear the filters</a>` });
    }
    return html`
      ${empty({ icon: "rotate-ccw", title: "No experiments yet", text: "Keep the settings of a job under a name, and start them as often as you like: every run has its own log, charts and artifacts." })}
      <div class="card-body stack-s"><span class="small quiet">From a terminal, kept and started at once:</span><code-block label="New experiment as curl" .text=${postAsCurl(addresses.experiments(), FIRST)}></code-block>
      <span class="small quiet">With the gradient command, <code>gradient experiments create singlenode</code> keeps one and <code>gradient experiments start</code> runs it.</span></div>`;
  }
}

function row(experiment) {
  const run = experiment.latestRun;
  return html`
    <tr class="linked" data-experiment=${experiment.id}>
      <td>
        <div class="job-name">
          <span class="row-tight"><a class="row-link cut" href="/experiments/${experiment.id}">${experiment.name}</a>${experiment.tags.map((tag) => html`<a class="tag" href="/experiments?tag=${encodeURIComponent(tag)}">${tag}</a>`)}</span>
          <span class="tiny quiet cut mono">${commandText(experiment.command) || experiment.image || "builds its image"}</span>
        </div>
      </td>
      <td><state-chip state=${experiment.state} phase=${run?.phase ?? ""}></state-chip>${run && !run.phase && run.exitCode ? html`<div class="tiny quiet">exit code ${run.exitCode}</div>` : nothing}</td>
      <td class="hide-narrow"><a class="soft" href="/projects/${experiment.project.id}">${experiment.project.name}</a></td>
      <td class="hide-narrow nowrap soft">${experiment.machineType}</td>
      <td class="number hide-narrow soft" title=${count(experiment.runs, "run")}>${experiment.runs}</td>
      <td class="number quiet">${run ? html`<time-ago at=${run.createdAt}></time-ago>` : "–"}</td>
    </tr>`;
}
customElements.define("experiments-page", ExperimentsPage);
