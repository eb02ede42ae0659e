// All projects, and a form for a new one.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { count } from "/format.js";
import { go } from "/router.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty, failed } from "/components/states.js";
import "/components/time-ago.js";

export default class ProjectsPage extends Page {
  problem = null;

  start() {
    this.heading = "Projects";
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.projects.load();
    this.watch(["project", "job"], () => this.projects.refresh());
  }

  #create = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    if (!name) return;
    try {
      const project = await api.createProject({ name });
      go(`/projects/${project.id}`);
    } catch (problem) {
      this.problem = problem;
      this.update();
    }
  };

  view() {
    return html`
      <header class="page-head"><div><h1>Projects</h1><p>A project holds jobs that belong together, and secrets that only they may read.</p></div></header>
      <div class="stack">
        <form class="card inline-form" @submit=${this.#create}>
          <div class="field wide"><label for="name">New project</label><input id="name" name="name" placeholder="vision" autocomplete="off" aria-invalid=${this.problem?.field === "name" ? "true" : nothing}></div>
          <button class="button primary">Create</button>
          ${this.problem ? html`<div class="grow">${failed(this.problem)}</div>` : nothing}
        </form>
        ${this.projects.show(({ items }) => (items.length ? html`<div class="project-grid">${repeat(items, (project) => project.id, (project) => this.#card(project))}</div>` : html`<div class="card">${empty({ icon: "folder", title: "No projects", text: "A job without a project goes to one called default, which is made by itself." })}</div>`))}
      </div>`;
  }

  #card(project) {
    return html`
      <div class="card project-card">
        <div class="row-tight"><ui-icon name="folder"></ui-icon><a class="cut" href="/projects/${project.id}"><strong>${project.name}</strong></a></div>
        <div class="spread small quiet"><span>${count(project.jobs.total, "job")}${project.jobs.active ? html` · <b>${project.jobs.active} active</b>` : nothing}</span><time-ago at=${project.createdAt}></time-ago></div>
      </div>`;
  }
}
customElements.define("projects-page", ProjectsPage);
