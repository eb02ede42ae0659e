// One project: its jobs, its name, its end.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { count } from "/format.js";
import { go } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { JobList } from "/components/job-list.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { toast } from "/components/toast-list.js";

export default class ProjectPage extends Page {
  renaming = false;

  start() {
    this.heading = "Project";
    this.id = this.route.params.id;
    this.project = new Resource(this, () => api.project(this.id));
    this.jobs = new JobList(this, () => ({ project: this.id }));
    this.project.load();
    this.jobs.load();
    this.watch(["project", "job"], (change) => {
      if (change.kind === "project" && change.id === this.id && change.change === "deleted") go("/projects", { replace: true });
      else this.project.refresh();
    });
  }

  view() {
    return this.project.show((project) => this.#project(project));
  }

  #project(project) {
    this.heading = project.name;
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/projects">Projects</a><ui-icon name="chevron-right" size="s"></ui-icon></nav>
      <header class="page-head">
        <div>${this.renaming ? this.#renameForm(project) : html`<h1>${project.name}</h1>`}<p>${count(project.jobs.total, "job")}, ${project.jobs.active} active</p></div>
        <div class="actions">
          <button class="button" @click=${() => this.#rename(true)}>Rename</button>
          <button class="button danger" @click=${() => this.#delete(project)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>
          <a class="button primary" href="/jobs/new?project=${encodeURIComponent(project.name)}"><ui-icon name="plus"></ui-icon>New job</a>
        </div>
      </header>
      <div class="card">${this.jobs.show(this.#none(project), { noProject: true })}</div>`;
  }

  #none(project) {
    return empty({ icon: "layers", title: "No jobs in this project", text: "A job names its project when it is submitted.", actions: html`<a class="button" href="/jobs/new?project=${encodeURIComponent(project.name)}">Start one here</a>` });
  }

  #renameForm(project) {
    return html`<form class="row" @submit=${this.#saveName}><input name="name" aria-label="New name" .value=${project.name} autofocus><button class="button primary">Save</button><button type="button" class="button ghost" @click=${() => this.#rename(false)}>Cancel</button></form>`;
  }

  #rename(renaming) {
    this.renaming = renaming;
    this.update();
  }

  #saveName = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get("name").trim();
    try {
      await api.renameProject(this.id, name);
      this.#rename(false);
      this.project.load();
    } catch (problem) {
      toast(problem.detail, "bad");
    }
  };

  async #delete(project) {
    const finished = project.jobs.total - project.jobs.active;
    const sure = await confirm({ title: `Delete ${project.name}?`, text: `${count(finished, "finished job")} with their logs and artifacts go with it. It is refused while jobs are unfinished.` });
    if (!sure) return;
    try {
      await api.deleteProject(this.id);
      toast(`${project.name} was deleted.`);
      go("/projects", { replace: true });
    } catch (problem) {
      toast(problem.detail, "bad");
    }
  }
}
customElements.define("project-page", ProjectPage);
