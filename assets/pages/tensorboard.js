// One TensorBoard: where it stands and why, what can be done with it, and what it shows, its log and settings.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { bytes, count } from "/format.js";
import { go } from "/router.js";
import { confirm } from "/components/confirm-dialog.js";
import { lastLines } from "/components/last-lines.js";
import { isLive, phaseWord, whyNoTerminal } from "/components/notebook-words.js";
import { memoryNote } from "/components/memory-note.js";
import { openWorkload } from "/components/open-workload.js";
import { Page } from "/components/page.js";
import { whyItWaits } from "/components/queue-place.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { boardNote } from "/components/tensorboard-words.js";
import { toast } from "/components/toast-list.js";
import "/components/inline-name.js";
import "/components/log-view.js";
import "/components/meter-bar.js";
import "/components/session-end.js";
import "/components/state-chip.js";
import "/components/terminal-view.js";
import "/components/time-ago.js";
import "/pages/tensorboard-members.js";
import "/pages/tensorboard-settings.js";

const TABS = { members: "Members", terminal: "Terminal", log: "Log", settings: "Settings" };
const SHOWN_KINDS = ["job", "experiment", "notebook", "dataset", "version"];

export default class TensorboardPage extends Page {
  doing = null; // What was asked for and is not answered yet, in words.

  start() {
    this.heading = "TensorBoard";
    this.id = this.route.params.id;
    this.board = new Resource(this, () => api.tensorboard(this.id));
    this.board.load();
    this.watch(["tensorboard", "queue", ...SHOWN_KINDS], (change) => this.#changed(change));
  }

  #changed(change) {
    if (change.kind === "tensorboard" && change.id !== this.id) return;
    if (change.kind === "queue" && this.board.value?.phase !== "queued") return;
    if (SHOWN_KINDS.includes(change.kind) && !this.#isTold(change)) return;
    if (change.kind === "tensorboard" && change.change === "deleted") return go("/tensorboards", { replace: true });
    this.board.refresh();
  }

  /** What it shows says where it stands, and that it is gone. A run of an experiment is told of as the job that it is. */
  #isTold({ kind, id, change }) {
    if (change === "deleted") return true;
    return kind === "job" && (this.board.value?.members ?? []).some((member) => member.kind === "experiment" || member.id === id);
  }

  view() {
    return this.board.show((board) => this.#board(board));
  }

  #board(board) {
    this.heading = board.name;
    const tab = TABS[this.route.params.tab] ? this.route.params.tab : "members";
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/tensorboards">TensorBoards</a><ui-icon name="chevron-right" size="s"></ui-icon><a href="/projects/${board.project.id}">${board.project.name}</a></nav>
      <header class="page-head">
        <div class="job-title"><inline-name .name=${board.name} @rename=${(event) => this.#rename(event.detail)}></inline-name><state-chip of="tensorboard" state=${board.state} phase=${phaseWord(board)} role="status"></state-chip></div>
        <div class="actions">${this.#actions(board)}</div>
      </header>
      <div class="job-summary">
        ${this.#note(board)} ${this.#progress(board)} ${memoryNote(board.session?.memoryKills)}
        ${isLive(board) && board.session ? html`<session-end of="tensorboard" .notebook=${board}></session-end>` : nothing}
        <div class="facts-line">${this.#facts(board)}</div>
      </div>
      <nav class="tabs" aria-label="Parts of the TensorBoard">
        ${Object.entries(TABS).map(([name, title]) => html`<a href="/tensorboards/${board.id}${name === "members" ? "" : `/${name}`}" aria-current=${name === tab ? "page" : nothing}>${title}</a>`)}
      </nav>
      ${this.#tab(tab, board)}`;
  }

  #actions(board) {
    const live = isLive(board);
    const busy = Boolean(this.doing);
    const open = html`<button class="button primary" title=${live ? "In a tab of its own" : "It starts and is opened in a tab of its own"} @click=${() => openWorkload(board.id)}><ui-icon name="external-link" size="s"></ui-icon>${live ? "Open TensorBoard" : "Start and open"}</button>`;
    if (live) return html`${open}<button class="button danger" ?disabled=${busy || board.phase === "teardown"} @click=${this.#stop}><ui-icon name="square" size="s"></ui-icon>${this.doing ?? (board.phase === "teardown" ? "Stopping…" : "Stop")}</button>`;
    return html`
      ${open}
      <button class="button" ?disabled=${busy} @click=${this.#start}><ui-icon name="play" size="s"></ui-icon>${this.doing ?? "Start"}</button>
      <button class="button danger" ?disabled=${busy} @click=${() => this.#delete(board)}><ui-icon name="trash-2" size="s"></ui-icon>Delete</button>`;
  }

  #note(board) {
    const note = boardNote(board);
    if (!note) return nothing;
    return html`
      <div class="note" data-tone=${note.tone} role="status"><ui-icon name=${note.icon}></ui-icon><div class="grow">
        <strong>${note.title}</strong>
        ${note.queue ? whyItWaits(note.queue) : nothing}
        ${note.text ? html`<div class="small soft">${note.text} ${note.log ? html`<a class="link" href="/tensorboards/${board.id}/log">Read its log</a>` : nothing} ${note.settings ? html`<a class="link" href="/tensorboards/${board.id}/settings">Change its settings</a>` : nothing}</div>` : nothing}
        ${lastLines(board.lastLines)}
      </div></div>`;
  }

  #progress({ progress }) {
    if (!progress) return nothing;
    const { what, doneBytes, totalBytes } = progress;
    return html`<meter-bar .label=${what} .text=${totalBytes ? `${bytes(doneBytes)} of ${bytes(totalBytes)}` : doneBytes ? bytes(doneBytes) : ""} .value=${totalBytes ? doneBytes / totalBytes : 0}></meter-bar>`;
  }

  #facts(board) {
    const fact = (icon, content, title = "") => html`<span title=${title}><ui-icon name=${icon} size="s"></ui-icon>${content}</span>`;
    return html`
      ${fact("package", html`<code class="cut">${board.image}</code>`, "Image")}
      ${fact("cpu", board.machineType ?? "its machine type is not there any more", "Machine type")}
      ${fact("user", board.user.name, "Made by")}
      ${fact("clock", html`made <time-ago at=${board.createdAt}></time-ago>`)}
      ${fact("chart-line", board.memberCount ? `shows ${count(board.memberCount, "member")}` : "shows nothing yet")}
      ${fact("tag", html`<code>${board.id}</code>`, "Id")}`;
  }

  #tab(tab, board) {
    if (tab === "log") return this.#log(board);
    if (tab === "terminal") return html`<terminal-view .workload=${board.id} .run=${board.session?.id} .why=${whyNoTerminal(board)}></terminal-view>`;
    if (tab === "settings") return html`<tensorboard-settings .board=${board} @changed=${() => this.board.load()}></tensorboard-settings>`;
    return html`<tensorboard-members .board=${board} @changed=${() => this.board.load()}></tensorboard-members>`;
  }

  /** Keyed by the session, as a log that is open belongs to one run. */
  #log({ session }) {
    if (!session) return html`<div class="card">${empty({ icon: "terminal", title: "It was never started", text: "What TensorBoard prints is kept here. Start or open it." })}</div>`;
    if (this.shown?.run !== session.id) this.shown = { run: session.id, element: Object.assign(document.createElement("log-view"), { anchor: null }) };
    this.shown.element.job = { id: session.id, state: session.state, attempt: 1, attempts: 1, gpus: [] };
    return this.shown.element;
  }

  async #ask(words, action, done) {
    this.doing = words;
    this.update();
    try {
      await action();
      if (done) toast(done);
      return true;
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
      return false;
    } finally {
      this.doing = null;
      this.update();
      this.board.load();
    }
  }

  #rename(name) {
    return this.#ask(null, () => api.changeTensorboard(this.id, { name }));
  }

  #start = () => this.#ask("Starting…", () => api.startTensorboard(this.id));

  #stop = () => this.#ask("Stopping…", () => api.stopTensorboard(this.id), "It is being stopped. Its address stays.");

  async #delete(board) {
    const sure = await confirm({ title: `Delete ${board.name}?`, text: "It goes with its log. What it shows stays where it is." });
    if (!sure) return;
    try {
      await api.deleteTensorboard(this.id);
      toast(`${board.name} was deleted.`);
      go("/tensorboards", { replace: true });
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
      this.board.load();
    }
  }
}
customElements.define("tensorboard-page", TensorboardPage);
