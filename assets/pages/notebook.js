// One notebook: where it stands and why, what can be done with it, and its files, log, use, sessions and settings.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { bytes } from "/format.js";
import { go } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { lastLines } from "/components/last-lines.js";
import { isLive, notebookNote, phaseWord, whyNoTerminal, whyNotOpen } from "/components/notebook-words.js";
import { askFork, askShare, askStart } from "/components/notebook-dialogs.js";
import { memoryNote } from "/components/memory-note.js";
import { openWorkload } from "/components/open-workload.js";
import { Page } from "/components/page.js";
import { whyItWaits } from "/components/queue-place.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import { notebookFiles } from "/components/file-root.js";
import "/components/file-browser.js";
import "/components/inline-name.js";
import "/components/log-view.js";
import "/components/meter-bar.js";
import "/components/session-end.js";
import "/components/state-chip.js";
import "/components/terminal-view.js";
import "/components/time-ago.js";
import "/pages/job-metrics.js";
import "/pages/notebook-connect.js";
import "/pages/notebook-data.js";
import "/pages/notebook-sessions.js";
import "/pages/notebook-settings.js";

const TABS = { files: "Files", data: "Data", terminal: "Terminal", log: "Log", metrics: "Metrics", connect: "Connect", sessions: "Sessions", settings: "Settings" };
/** What others see of a notebook that is public. */
const PUBLIC_TABS = ["files"];

export default class NotebookPage extends Page {
  doing = null; // What was asked for and is not answered yet, in words.

  start() {
    this.heading = "Notebook";
    this.id = this.route.params.id;
    this.notebook = new Resource(this, () => api.notebook(this.id));
    this.notebook.load();
    this.watch(["notebook", "queue"], (change) => this.#changed(change));
  }

  #changed(change) {
    if (change.kind === "notebook" && change.id !== this.id) return;
    if (change.kind === "queue" && this.notebook.value?.phase !== "queued") return;
    if (change.change === "deleted") return go("/notebooks", { replace: true });
    this.notebook.refresh();
    this.querySelector("notebook-data")?.changed();
  }

  view() {
    return this.notebook.show((notebook) => this.#notebook(notebook));
  }

  /** Another team's shows no project. */
  #isOwn(notebook) {
    return Boolean(notebook.project);
  }

  #notebook(notebook) {
    this.heading = notebook.name;
    const own = this.#isOwn(notebook);
    const tabs = Object.entries(TABS).filter(([name]) => own || PUBLIC_TABS.includes(name));
    const tab = tabs.some(([name]) => name === this.route.params.tab) ? this.route.params.tab : "files";
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/notebooks">Notebooks</a>${notebook.project ? html`<ui-icon name="chevron-right" size="s"></ui-icon><a href="/projects/${notebook.project.id}">${notebook.project.name}</a>` : nothing}</nav>
      <header class="page-head">
        <div class="job-title"><inline-name .name=${notebook.name} ?fixed=${!own} @rename=${(event) => this.#rename(event.detail)}></inline-name><state-chip of="notebook" state=${notebook.state} phase=${phaseWord(notebook)} role="status"></state-chip></div>
        <div class="actions">${this.#actions(notebook, own)}</div>
      </header>
      <div class="job-summary">
        ${this.#note(notebook, own)} ${this.#progress(notebook)} ${this.#dataNote(notebook)} ${memoryNote(notebook.session?.memoryKills)}
        ${own && isLive(notebook) && notebook.session ? html`<session-end .notebook=${notebook} @changed=${() => this.notebook.load()}></session-end>` : nothing}
        <div class="facts-line">${this.#facts(notebook)}</div>
      </div>
      <nav class="tabs" aria-label="Parts of the notebook">
        ${tabs.map(([name, title]) => html`<a href="/notebooks/${notebook.id}${name === "files" ? "" : `/${name}`}" aria-current=${name === tab ? "page" : nothing}>${title}</a>`)}
      </nav>
      ${this.#tab(tab, notebook, own)}`;
  }

  #actions(notebook, own) {
    const why = whyNotOpen(notebook);
    const live = isLive(notebook);
    const busy = Boolean(this.doing);
    const fork = html`<button class="button" ?disabled=${Boolean(notebook.copying)} @click=${() => this.#fork(notebook)}><ui-icon name="git-fork" size="s"></ui-icon>Fork</button>`;
    if (!own) return fork;
    return html`
      ${live
        ? html`<button class="button primary" ?disabled=${Boolean(why)} title=${why ?? "JupyterLab, in a tab of its own"} @click=${() => openWorkload(notebook.id)}><ui-icon name="external-link" size="s"></ui-icon>Open JupyterLab</button>
            <button class="button danger" ?disabled=${busy || notebook.phase === "teardown"} @click=${this.#stop}><ui-icon name="square" size="s"></ui-icon>${this.doing ?? (notebook.phase === "teardown" ? "Stopping…" : "Stop")}</button>`
        : html`<button class="button primary" ?disabled=${busy || Boolean(notebook.copying)} @click=${() => this.#start()}><ui-icon name="play" size="s"></ui-icon>${this.doing ?? "Start"}</button>
            <button class="button" ?disabled=${busy || Boolean(notebook.copying)} @click=${() => this.#startOn(notebook)}>Start on…</button>`}
      ${fork}
      <button class="button" @click=${() => this.#share(notebook)}><ui-icon name="share-2" size="s"></ui-icon>Share</button>
      ${live ? nothing : html`<button class="button danger" @click=${() => this.#delete(notebook)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>`}
      ${live && why ? html`<p class="small quiet why" role="status">${why}</p>` : nothing}`;
  }

  #note(notebook, own) {
    const note = notebookNote(notebook);
    if (!note) return nothing;
    return html`<div class="note" data-tone=${note.tone} role="status"><ui-icon name=${note.icon}></ui-icon><div class="grow"><strong>${note.title}</strong>${note.queue ? whyItWaits(note.queue) : nothing}${note.text || note.log ? html`<div class="small soft">${note.text} ${note.log && own ? html`<a class="link" href="/notebooks/${notebook.id}/log">Read its log</a>` : nothing}</div>` : nothing}${lastLines(notebook.lastLines)}</div></div>`;
  }

  #progress({ progress }) {
    if (!progress) return nothing;
    const { what, doneBytes, totalBytes } = progress;
    return html`<meter-bar .label=${what} .text=${totalBytes ? `${bytes(doneBytes)} of ${bytes(totalBytes)}` : doneBytes ? bytes(doneBytes) : ""} .value=${totalBytes ? doneBytes / totalBytes : 0}></meter-bar>`;
  }

  /** Shown on every tab but its own, which says more. */
  #dataNote({ id, dataProblems }) {
    if (!dataProblems?.length || this.route.params.tab === "data") return nothing;
    const [{ name, message }] = dataProblems;
    return html`<div class="note" data-tone="waiting" role="status"><ui-icon name="triangle-alert"></ui-icon><div><strong>${dataProblems.length === 1 ? "Some data is not there" : `${dataProblems.length} parts of its data are not there`}</strong><div class="small soft">${name ? html`<code>/datasets/${name}</code>: ` : nothing}${message} <a class="link" href="/notebooks/${id}/data">Look at its data</a></div></div></div>`;
  }

  #facts(notebook) {
    const { spec, session, size } = notebook;
    const fact = (icon, content, title = "") => html`<span title=${title}><ui-icon name=${icon} size="s"></ui-icon>${content}</span>`;
    return html`
      ${fact("package", html`<code class="cut">${notebook.image}</code>`, "Image")}
      ${fact("cpu", notebook.machineType, "Machine type")}
      ${session && isLive(notebook) && session.gpus.length ? fact("microchip", `${session.gpus.length} × GPU`, session.gpus.join("\n")) : nothing}
      ${fact("user", notebook.user.name, "Made by")}
      ${fact("clock", html`made <time-ago at=${notebook.createdAt}></time-ago>`)}
      ${size ? fact("hard-drive", `${bytes(size.filesBytes)} of files${size.packagesBytes ? `, ${bytes(size.packagesBytes)} of packages` : ""}`, "What it keeps") : nothing}
      ${spec.workspace?.git ? fact("git-branch", html`<code class="cut">${spec.workspace.git}${spec.workspace.ref ? ` at ${spec.workspace.ref}` : ""}</code>`, "Its files began as") : nothing}
      ${spec.datasets?.map(({ ref, name }) => fact("database", html`<code>/datasets/${name}</code> <span class="quiet">is</span> ${ref}`, "Dataset"))}
      ${notebook.public ? fact("globe", "public on this box", "Everybody with a key may look at its files and fork it") : nothing}
      ${notebook.forkedFrom ? fact("git-fork", html`fork of <a class="link" href="/notebooks/${notebook.forkedFrom}">${notebook.forkedFrom}</a>`) : nothing}
      ${notebook.tags.length ? html`<span>${notebook.tags.map((tag) => html`<a class="tag" href="/notebooks?tag=${encodeURIComponent(tag)}">${tag}</a>`)}</span>` : nothing}`;
  }

  #tab(tab, notebook, own) {
    const { query } = this.route;
    const run = this.#run(notebook, query.get("session"));
    switch (tab) {
      case "log":
      case "metrics":
        if (!run) return html`<div class="card">${empty({ icon: "terminal", title: "It was never started", text: "Each session has a log and metrics of its own." })}</div>`;
        return html`${run.id === notebook.session?.id ? nothing : html`<p class="small quiet page-note">Of the earlier session ${run.id}. <a class="link" href="/notebooks/${notebook.id}/${tab}">Go to the latest</a></p>`}${this.#ofSession(tab, run)}`;
      case "terminal":
        return html`<terminal-view .workload=${notebook.id} .run=${notebook.session?.id} .why=${whyNoTerminal(notebook)}></terminal-view>`;
      case "data":
        return html`<notebook-data .notebook=${notebook}></notebook-data>`;
      case "connect":
        return html`<notebook-connect .notebook=${notebook}></notebook-connect>`;
      case "sessions":
        return html`<notebook-sessions .notebook=${notebook}></notebook-sessions>`;
      case "settings":
        return html`<notebook-settings .notebook=${notebook} @changed=${() => this.notebook.load()}></notebook-settings>`;
      default:
        return html`<file-browser .root=${notebookFiles(notebook)} .path=${query.get("path") ?? ""} .file=${query.get("file")} ?fixed=${!own || Boolean(notebook.copying)}></file-browser>`;
    }
  }

  /** The session that the address names, or the latest, as what shows the log of a run takes it. */
  #run(notebook, earlier) {
    const { session } = notebook;
    if (earlier && earlier !== session?.id) return { id: earlier, state: "stopped", attempt: 1, attempts: 1, gpus: [] };
    if (!session) return null;
    return { id: session.id, state: session.state, attempt: 1, attempts: 1, gpus: session.gpus.map((uuid) => ({ uuid, index: null })) };
  }

  /** Keyed by the session, as a log that is open belongs to one run. */
  #ofSession(tab, run) {
    const tag = tab === "log" ? "log-view" : "job-metrics";
    if (this.shown?.run !== run.id || this.shown.tag !== tag) {
      this.shown = { run: run.id, tag, element: Object.assign(document.createElement(tag), { job: run, anchor: null }) };
    }
    this.shown.element.job = run;
    return this.shown.element;
  }

  async #ask(words, action, done) {
    this.doing = words;
    this.update();
    try {
      const answer = await action();
      if (done) toast(done);
      return answer;
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
      return null;
    } finally {
      this.doing = null;
      this.update();
      this.notebook.load();
    }
  }

  #rename(name) {
    return this.#ask(null, () => api.changeNotebook(this.id, { name }));
  }

  #start() {
    return this.#ask("Starting…", () => api.startNotebook(this.id));
  }

  async #startOn(notebook) {
    if (await askStart(notebook)) this.notebook.load();
  }

  #stop = async () => {
    await this.#ask("Stopping…", () => api.stopNotebook(this.id), "The notebook is being stopped. Its files are kept.");
  };

  async #fork(notebook) {
    const fork = await askFork(notebook);
    if (!fork) return;
    toast(`${fork.name} was made.`);
    go(`/notebooks/${fork.id}`);
  }

  async #share(notebook) {
    if (await askShare(notebook)) this.notebook.load();
  }

  async #delete(notebook) {
    const sure = await confirm({ title: `Delete ${notebook.name}?`, text: "All of its files in /notebooks and the logs of its sessions go with it. This cannot be undone." });
    if (sure && (await this.#ask("Deleting…", async () => (await api.deleteNotebook(this.id), true)))) {
      toast(`${notebook.name} was deleted.`);
      go("/notebooks", { replace: true });
    }
  }
}

customElements.define("notebook-page", NotebookPage);
