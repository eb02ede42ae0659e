// <notebook-connect .notebook=${…}>: ways in beside JupyterLab: other ports, and a token for an editor.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { moment } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { openWorkload } from "/components/open-workload.js";
import { failed } from "/components/states.js";
import { whyNotOpen } from "/components/notebook-words.js";
import "/components/code-block.js";
import "/components/copy-button.js";

const DAY_SECONDS = 86_400;
const LIVES = [[1, "a day"], [7, "a week"], [30, "30 days"], [90, "90 days"]];
const KNOWN_PORTS = [[6006, "TensorBoard"], [7860, "Gradio"], [8501, "Streamlit"]];

class NotebookConnect extends Element {
  port = "";
  made = null;
  problem = null;

  view() {
    const why = whyNotOpen(this.notebook);
    return html`
      <div class="columns about">
        <section class="card" aria-labelledby="editor-title">
          <div class="card-head"><h2 id="editor-title">Connect an editor</h2></div>
          <div class="card-body stack">
            <p class="soft">An editor such as VS Code runs its cells on the notebook's kernels. It needs an address and a token, which opens this notebook and nothing else.</p>
            ${this.made ? this.#made() : this.#form(why)}
            ${this.problem ? failed(this.problem) : nothing}
            <div><h3>In VS Code</h3>
              <ol class="steps small soft">
                <li>Install the extension Jupyter, and open a notebook file.</li>
                <li>Choose <b>Select Kernel</b>, then <b>Existing Jupyter Server…</b></li>
                <li>Paste the address with the token, press Enter, and choose a kernel.</li>
              </ol>
            </div>
          </div>
        </section>
        <section class="card" aria-labelledby="ports-title">
          <div class="card-head"><h2 id="ports-title">Other ports</h2></div>
          <div class="card-body stack">
            <p class="soft">Whatever listens on a port in the notebook's container opens in a tab of its own, for those who may open the notebook.</p>
            <form class="row" @submit=${this.#openPort}>
              <label class="row-tight">Port <input type="number" class="port" name="port" min="1" max="65535" required placeholder="6006" .value=${this.port} @input=${(event) => (this.port = event.target.value)}></label>
              <button class="button" ?disabled=${Boolean(why)}><ui-icon name="external-link" size="s"></ui-icon>Open</button>
            </form>
            <div class="row small quiet">${KNOWN_PORTS.map(([port, name]) => html`<button type="button" class="link" @click=${() => { this.port = String(port); this.update(); }}>${name} ${port}</button>`)}</div>
            <p class="small quiet">A server has to listen on 0.0.0.0 rather than on 127.0.0.1, as with <code class="nowrap">tensorboard --bind_all</code>.</p>
            ${why ? html`<p class="small quiet" role="status">${why}</p>` : nothing}
          </div>
        </section>
      </div>`;
  }

  #form(why) {
    return html`
      <form class="row" @submit=${this.#make}>
        <label class="row-tight small nowrap">Good for <select name="days" aria-label="Good for">${LIVES.map(([days, words]) => html`<option value=${days} ?selected=${days === 7}>${words}</option>`)}</select></label>
        <button class="button" ?disabled=${Boolean(why) || this.busy}><ui-icon name="plug" size="s"></ui-icon>Make a token</button>
      </form>
      ${why ? html`<p class="small quiet" role="status">${why}</p>` : nothing}`;
  }

  #made() {
    const { url, token, expiresAt } = this.made;
    return html`
      <div class="new-key" role="status">
        <div class="spread"><strong>This is the only time the token is shown.</strong><button class="button small ghost icon-only" aria-label="Hide the token" @click=${() => { this.made = null; this.update(); }}><ui-icon name="x"></ui-icon></button></div>
        <div class="stack-s"><span class="small soft">Address with the token</span><code-block label="Address with the token" .text=${`${url}?token=${token}`}></code-block></div>
        <div class="stack-s"><span class="small soft">Token alone</span><div class="row"><output>${token}</output><copy-button label="Copy the token" .text=${token}></copy-button></div></div>
        <span class="tiny quiet">Good until ${moment(expiresAt)}, also after the notebook was stopped and started again. It ends with the key that you signed in with.</span>
      </div>`;
  }

  #make = async (event) => {
    event.preventDefault();
    const days = Number(new FormData(event.target).get("days"));
    this.busy = true;
    this.problem = null;
    try {
      this.made = await api.createWorkloadToken(this.notebook.id, { expiresInSeconds: days * DAY_SECONDS });
    } catch (problem) {
      this.problem = problem;
    }
    this.busy = false;
    this.update();
  };

  #openPort = (event) => {
    event.preventDefault();
    openWorkload(this.notebook.id, { port: Number(this.port) });
  };
}

reactive(NotebookConnect, ["notebook", "busy"]);
customElements.define("notebook-connect", NotebookConnect);
