// What a badge leads to: /github/OWNER/REPO/blob/REF/PATH.ipynb and /git/HOST/OWNER/REPO/…. It asks, for a
// link must not start anything by itself, then makes a notebook of the repository and opens that file.
import { html, nothing } from "/html.js";
import { api, newIdempotencyKey } from "/api.js";
import { go } from "/router.js";
import { isLive, phaseWord } from "/components/notebook-words.js";
import { openWorkload } from "/components/open-workload.js";
import { Page } from "/components/page.js";
import { badgeMarkdown, readRepository, runPath } from "/components/repository-link.js";
import { Resource } from "/components/resource.js";
import { empty, failed } from "/components/states.js";
import "/components/code-block.js";
import "/components/machine-picker.js";
import "/components/meter-bar.js";
import "/components/state-chip.js";
import "/components/ui-icon.js";

const USUAL_IMAGE = "jupyter/scipy-notebook:latest";

export default class RunRepositoryPage extends Page {
  problem = null;
  made = null; // The notebook that was made of it, as it stands.
  machineType = "";

  start() {
    this.heading = "Run on Gradient";
    this.what = readRepository(this.route.path);
    this.image = this.route.query.get("runtime") || this.route.query.get("image") || USUAL_IMAGE;
    this.intent = newIdempotencyKey();
    this.types = new Resource(this, api.machineTypes);
    this.types.load().then(() => {
      const types = this.types.value?.items ?? [];
      this.machineType ||= types.find((type) => type.default)?.name ?? types[0]?.name ?? "";
      this.update();
    });
    this.watch(["notebook"], ({ kind, id }) => (kind === "missed" || id === this.made?.id) && this.#look());
  }

  async #look() {
    if (!this.made) return;
    try {
      this.made = await api.notebook(this.made.id);
    } catch (problem) {
      this.problem = problem;
    }
    this.update();
  }

  view() {
    const { what } = this;
    if (!what) return html`<div class="card">${empty({ icon: "git-branch", title: "This names no repository", text: "Such a link is /github/OWNER/REPO/blob/REF/PATH.ipynb, or /git/HOST/OWNER/REPO/blob/REF/PATH.ipynb for any other git host.", actions: html`<a class="button" href="/notebooks/new">Make a notebook</a>` })}</div>`;
    return html`
      <header class="page-head"><div><h1>Run ${what.file ? what.file.split("/").at(-1) : what.repository}</h1><p>From <code>${what.host}/${what.repository}</code>${what.ref ? html` at <code>${what.ref}</code>` : nothing}.</p></div></header>
      <div class="run-page stack">
        ${this.made ? this.#standing() : this.#question()}
        ${this.problem ? failed(this.problem) : nothing}
        <details class="small"><summary>The badge for its README</summary><div class="stack-s"><img class="badge" src="/run-on-gradient.svg" alt="Run on Gradient" width="136" height="28"><code-block label="Badge as Markdown" .text=${badgeMarkdown(location.origin, runPath({ ...what, image: this.image }))}></code-block></div></details>
      </div>`;
  }

  #question() {
    const { what } = this;
    return html`
      <form class="card card-body stack" @submit=${this.#make}>
        <div class="note" data-tone="waiting"><ui-icon name="shield-check"></ui-icon><div><strong>Code from elsewhere runs with what your notebooks have</strong><div class="small soft">It reads and writes your team's /storage. Run it if you trust <code>${what.host}/${what.repository}</code>.</div></div></div>
        <div class="two">
          <div class="field"><label for="name">Name</label><input id="name" name="name" .value=${what.repository.split("/").at(-1)} required maxlength="128" autocomplete="off" aria-invalid=${this.#invalid("name")}></div>
          <div class="field"><label for="image">Image</label><input id="image" name="image" class="mono" .value=${this.image} required spellcheck="false" autocomplete="off" aria-invalid=${this.#invalid("image")} @input=${(event) => { this.image = event.target.value; this.update(); }}></div>
        </div>
        <div class="field"><span class="label">Machine</span>${this.types.show(({ items }) => html`<machine-picker .types=${items} .value=${this.machineType} @pick=${(event) => (this.machineType = event.detail)}></machine-picker>`)}</div>
        <div class="row"><button class="button primary" ?disabled=${this.busy}><ui-icon name="play" size="s"></ui-icon>${this.busy ? "Making it…" : "Make the notebook"}</button><a class="button ghost" href="/notebooks">Cancel</a></div>
      </form>`;
  }

  #invalid(name) {
    return this.problem?.field === name ? "true" : nothing;
  }

  #standing() {
    const { made, what } = this;
    const over = !isLive(made);
    const { progress } = made;
    return html`
      <section class="card card-body stack" aria-label="The notebook">
        <div class="spread"><div class="row-tight"><strong>${made.name}</strong><state-chip of="notebook" state=${made.state} phase=${phaseWord(made)} role="status"></state-chip></div><a class="link small" href="/notebooks/${made.id}">Its page</a></div>
        ${progress ? html`<meter-bar .label=${progress.what} .value=${progress.totalBytes ? progress.doneBytes / progress.totalBytes : 0}></meter-bar>` : nothing}
        ${made.queue ? html`<p class="small soft">${made.queue.reason}</p>` : nothing}
        ${over ? html`<div class="note" data-tone="bad"><ui-icon name="circle-alert"></ui-icon><div><strong>${made.message ?? "It ended"}</strong><div class="small soft"><a class="link" href="/notebooks/${made.id}/log">Read its log</a></div></div></div>` : nothing}
        <div class="row"><button class="button primary" ?disabled=${!made.ready} @click=${() => this.#open()}><ui-icon name="external-link" size="s"></ui-icon>Open ${what.file ? what.file.split("/").at(-1) : "JupyterLab"}</button>${made.ready || over ? nothing : html`<span class="small quiet">It can be opened when its server answers.</span>`}</div>
      </section>`;
  }

  #make = async (event) => {
    event.preventDefault();
    const { what } = this;
    const { name, image } = Object.fromEntries(new FormData(event.target));
    this.busy = true;
    this.problem = null;
    this.update();
    try {
      const workspace = { git: what.git, ...(what.ref ? { ref: what.ref } : {}) };
      this.made = await api.createNotebook({ name: name.trim(), image: image.trim(), machineType: this.machineType, workspace }, this.intent);
    } catch (problem) {
      this.problem = problem;
      if (problem.status) this.intent = newIdempotencyKey();
    }
    this.busy = false;
    this.update();
  };

  async #open() {
    const { file } = this.what;
    const path = file ? `lab/tree/${file.split("/").map(encodeURIComponent).join("/")}` : "";
    if (await openWorkload(this.made.id, { path })) go(`/notebooks/${this.made.id}`, { replace: true });
  }
}
customElements.define("run-repository-page", RunRepositoryPage);
