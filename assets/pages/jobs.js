// All jobs, filtered by what the URL says.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { setQuery } from "/router.js";
import { JobList } from "/components/job-list.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";

const STATES = [
  ["", "All"],
  ["pending,provisioned", "Waiting"],
  ["running", "Running"],
  ["stopped", "Stopped"],
  ["failed,error", "Failed"],
  ["cancelled", "Cancelled"],
];
const FILTERS = ["state", "project", "tag", "q", "user"];
const TYPING_MILLIS = 250;

export default class JobsPage extends Page {
  start() {
    this.heading = "Jobs";
    this.jobs = new JobList(this, () => Object.fromEntries(FILTERS.map((name) => [name, this.route.query.get(name)])));
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.jobs.load();
    this.projects.load();
    this.watch(["project"], () => this.projects.refresh());
  }

  routeChanged() {
    this.jobs.reset();
    this.update();
  }

  view() {
    const query = this.route.query;
    return html`
      <header class="page-head"><h1>Jobs</h1></header>
      <div class="filters" role="search" aria-label="Filter jobs">
        <div class="search"><ui-icon name="search" size="s"></ui-icon><input type="search" data-search placeholder="Name or id…" aria-label="Search jobs" .value=${query.get("q") ?? ""} @input=${this.#typed}><kbd aria-hidden="true">/</kbd></div>
        <div class="segments" role="group" aria-label="State">
          ${STATES.map(([value, name]) => html`<button aria-pressed=${(query.get("state") ?? "") === value ? "true" : "false"} @click=${() => setQuery({ state: value }, { replace: false })}>${name}</button>`)}
        </div>
        <select aria-label="Project" @change=${(event) => setQuery({ project: event.target.value }, { replace: false })}>
          <option value="">All projects</option>
          ${this.projects.value?.items.map((project) => html`<option value=${project.id} ?selected=${query.get("project") === project.id}>${project.name}</option>`)}
        </select>
        ${query.get("tag") ? html`<button class="button small" @click=${() => setQuery({ tag: null }, { replace: false })} aria-label="Remove the filter by tag ${query.get("tag")}"><ui-icon name="tag" size="s"></ui-icon>${query.get("tag")}<ui-icon name="x" size="s"></ui-icon></button>` : nothing}
      </div>
      <div class="card">${this.jobs.show(this.#none())}</div>`;
  }

  #typed = (event) => {
    const text = event.target.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => setQuery({ q: text }), TYPING_MILLIS);
  };

  #none() {
    if (FILTERS.some((name) => this.route.query.get(name))) {
      return empty({ icon: "search", title: "No job fits these filters", text: "Take one away to see more.", actions: html`<a class="button small" href="/jobs">Clear the filters</a>` });
    }
    return empty({ icon: "layers", title: "No jobs yet", text: "A job is an image and a command. Its log, charts and artifacts are kept here.", actions: html`<a class="button primary" href="/jobs/new">Make the first one</a>` });
  }
}
customElements.define("jobs-page", JobsPage);
