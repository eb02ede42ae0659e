// The form that makes a notebook. What ?image=&git=&ref=&name=&project=&machineType= say is filled in.
import { html } from "/html.js";
import { addresses, api, newIdempotencyKey } from "/api.js";
import { jobAsCurl } from "/format.js";
import { go } from "/router.js";
import { Page } from "/components/page.js";
import { toast } from "/components/toast-list.js";
import { emptyNotebook, specOfNotebook } from "/pages/notebook-draft.js";
import "/components/code-block.js";
import "/components/notebook-form.js";

const GIVEN = ["image", "git", "ref", "name", "project", "machineType"];

export default class NewNotebookPage extends Page {
  draft = emptyNotebook();
  problem = null;
  busy = null;

  start() {
    this.heading = "New notebook";
    for (const name of GIVEN) this.draft[name] = this.route.query.get(name) ?? "";
    const dataset = this.route.query.get("dataset");
    if (dataset) this.draft.datasets = [{ ref: dataset, name: dataset.split(":")[0], named: false }];
  }

  view() {
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/notebooks">Notebooks</a></nav>
      <header class="page-head"><div><h1>New notebook</h1><p>JupyterLab on this box: its files stay, and the machine may change at each start.</p></div></header>
      <div class="form-page">
        <notebook-form mode="new" .draft=${this.draft} .problem=${this.problem} .busy=${this.busy} @edit=${() => this.update()} @send=${this.#send}></notebook-form>
        <aside class="aside" aria-label="The same as a request">
          <div class="card card-body stack-s"><h2>As a request</h2><p class="small quiet">The same notebook from a terminal or a script.</p><code-block label="Request as curl" .text=${jobAsCurl(addresses.notebooks(), specOfNotebook(this.draft))}></code-block></div>
        </aside>
      </div>`;
  }

  #send = async () => {
    const spec = specOfNotebook(this.draft);
    const text = JSON.stringify(spec);
    // The same notebook sent again after the connection broke is one notebook; a changed one is another.
    if (this.intent?.text !== text) this.intent = { text, key: newIdempotencyKey() };
    this.problem = null;
    this.#busyWith("Starting…");
    try {
      const notebook = await api.createNotebook(spec, this.intent.key);
      toast(`${notebook.name} was made and starts.`);
      go(`/notebooks/${notebook.id}`);
    } catch (problem) {
      this.problem = problem;
      if (problem.status) this.intent = null; // It was answered: the next try is a new intent.
      this.#busyWith(null);
    }
  };

  #busyWith(words) {
    this.busy = words;
    this.update();
  }
}
customElements.define("new-notebook-page", NewNotebookPage);
