// Secrets: set, replaced and deleted here, never shown.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { confirm } from "/components/confirm-dialog.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty, failed } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/time-ago.js";

const BOX = "*"; // No project has such an id.

export default class SecretsPage extends Page {
  problem = null;

  start() {
    this.heading = "Secrets";
    this.secrets = new Resource(this, () => api.secrets({ limit: 500 }));
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.secrets.load();
    this.projects.load();
    this.watch(["secret"], () => this.secrets.refresh());
    this.watch(["project"], () => this.projects.refresh());
  }

  #save = async (event) => {
    event.preventDefault();
    const form = event.target;
    const { name, value, project } = Object.fromEntries(new FormData(form));
    const whose = project === BOX ? { scope: "box" } : project ? { project } : {};
    try {
      await api.putSecret({ name: name.trim(), value, ...whose });
      this.problem = null;
      form.reset();
      toast(`${name} is set.`);
      this.secrets.load();
    } catch (problem) {
      this.problem = problem;
      this.update();
    }
  };

  async #delete(secret) {
    const sure = await confirm({ title: `Delete ${secret.name}?`, text: "New jobs that name it will be refused. Running ones keep the value they started with." });
    if (!sure) return;
    try {
      await api.deleteSecret(secret.id);
      toast(`${secret.name} was deleted.`);
      this.secrets.load();
    } catch (problem) {
      toast(problem.detail, "bad");
    }
  }

  #replace(secret) {
    const form = this.querySelector("form");
    form.elements.name.value = secret.name;
    form.elements.project.value = secret.scope === "box" ? BOX : (secret.projectId ?? "");
    form.elements.value.focus();
  }

  view() {
    const admin = document.querySelector("app-shell").session?.scope === "admin";
    const invalid = (field) => (this.problem?.field === field ? "true" : nothing);
    return html`
      <header class="page-head"><div><h1>Secrets</h1><p>Use one as <code>secret:NAME</code> in a job's environment or as a password. It is kept encrypted, masked in logs and never shown again. A project's secret goes before the team's of the same name, and that before the box's.</p></div></header>
      <div class="stack">
        <form class="card inline-form" @submit=${this.#save} autocomplete="off">
          <div class="field"><label for="name">Name</label><input id="name" name="name" class="mono" placeholder="HF_TOKEN" required spellcheck="false" autocapitalize="off" aria-invalid=${invalid("name")}></div>
          <div class="field wide"><label for="value">Value</label><input id="value" name="value" type="password" class="mono" required autocomplete="new-password" aria-invalid=${invalid("value")}></div>
          <div class="field"><label for="project">For</label><select id="project" name="project" aria-invalid=${invalid("project")}><option value="">The whole team</option>${admin ? html`<option value=${BOX}>Every team of this box</option>` : nothing}${this.projects.value?.items.map((project) => html`<option value=${project.id}>Project ${project.name}</option>`)}</select></div>
          <button class="button primary">Set</button>
          ${this.problem ? html`<div class="wrong">${failed(this.problem)}</div>` : nothing}
        </form>
        <div class="card">${this.secrets.show(({ items }) => (items.length ? this.#table(items) : empty({ icon: "lock", title: "No secrets yet", text: "Set a token or a password above, then name it in a job instead of writing it there." })))}</div>
      </div>`;
  }

  #table(items) {
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Name</th><th>For</th><th class="number hide-narrow">Changed</th><th><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>${repeat(items, (secret) => secret.id, (secret) => html`
          <tr>
            <td><code>${secret.name}</code></td>
            <td class="soft">${secret.scope === "box" ? "every team" : secret.scope === "project" ? (this.projects.value?.items.find((project) => project.id === secret.projectId)?.name ?? "a project") : "the whole team"}</td>
            <td class="number quiet hide-narrow"><time-ago at=${secret.updatedAt}></time-ago></td>
            <td class="number"><button class="button small ghost" @click=${() => this.#replace(secret)}>Replace</button> <button class="button small ghost danger" aria-label="Delete ${secret.name}" @click=${() => this.#delete(secret)}><ui-icon name="trash-2" size="s"></ui-icon></button></td>
          </tr>`)}</tbody>
      </table></div>`;
  }
}
customElements.define("secrets-page", SecretsPage);
