// The form that makes a TensorBoard. What ?name=&project=&image= say is filled in.
import { html } from "/html.js";
import { addresses, api, newIdempotencyKey } from "/api.js";
import { postAsCurl } from "/format.js";
import { go } from "/router.js";
import { blankTab, openWorkload } from "/components/open-workload.js";
import { Page } from "/components/page.js";
import { toast } from "/components/toast-list.js";
import { emptyBoard, specOfBoard } from "/pages/tensorboard-draft.js";
import "/components/code-block.js";
import "/components/tensorboard-form.js";

const GIVEN = ["name", "project", "image"];

export default class NewTensorboardPage extends Page {
  draft = emptyBoard();
  problem = null;
  busy = null;

  start() {
    this.heading = "New TensorBoard";
    for (const name of GIVEN) this.draft[name] = this.route.query.get(name) ?? "";
  }

  view() {
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/tensorboards">TensorBoards</a></nav>
      <header class="page-head"><div><h1>New TensorBoard</h1><p>Draws what runs wrote, side by side, also while they write. It runs on a processor, and only while somebody looks.</p></div></header>
      <div class="form-page">
        <tensorboard-form mode="new" .draft=${this.draft} .problem=${this.problem} .busy=${this.busy} @edit=${() => this.update()} @send=${this.#send}></tensorboard-form>
        <aside class="aside" aria-label="The same as a request">
          <div class="card card-body stack-s"><h2>As a request</h2><p class="small quiet">The same TensorBoard from a terminal or a script.</p><code-block label="Request as curl" .text=${postAsCurl(addresses.tensorboards(), specOfBoard(this.draft))}></code-block></div>
        </aside>
      </div>`;
  }

  #send = async ({ detail: { open } }) => {
    const tab = open ? blankTab() : null;
    const spec = specOfBoard(this.draft);
    const text = JSON.stringify(spec);
    // The same one sent again after the connection broke is one TensorBoard; a changed one is another.
    if (this.intent?.text !== text) this.intent = { text, key: newIdempotencyKey() };
    this.problem = null;
    this.#busyWith("Making it…");
    try {
      const board = await api.createTensorboard(spec, this.intent.key);
      toast(`${board.name} was made.`);
      go(`/tensorboards/${board.id}`);
      if (open) await openWorkload(board.id, { tab });
    } catch (problem) {
      tab?.close();
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
customElements.define("new-tensorboard-page", NewTensorboardPage);
