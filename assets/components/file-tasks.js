// Copies and moves that the box is busy with, followed until they end.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { bytes, count } from "/format.js";
import { toast } from "/components/toast-list.js";

const LOOK_MILLIS = 1000;

/** `onChange` is called when what is shown changes, `onEnd` when one has ended and files are otherwise. */
export class FileTasks {
  #tasks = new Map();
  #timer = null;

  constructor(onChange, onEnd) {
    Object.assign(this, { onChange, onEnd });
  }

  close() {
    clearTimeout(this.#timer);
    this.#tasks.clear();
  }

  /** Follows a task, which may have ended already. */
  follow(task) {
    if (task.state === "running") {
      this.#tasks.set(task.id, task);
      this.#timer ??= setTimeout(() => this.#look(), LOOK_MILLIS);
    } else {
      this.#tasks.delete(task.id);
      if (task.state === "failed") toast(task.error?.detail ?? "It did not succeed.", "bad");
      this.onEnd();
    }
    this.onChange();
  }

  async #look() {
    this.#timer = null;
    for (const task of [...this.#tasks.values()]) {
      try {
        this.follow(await api.fileTask(task.id));
      } catch (problem) {
        if (problem.status === 404) this.follow({ ...task, state: "failed", error: { detail: `Whether ${task.from.path} was ${WORDS[task.kind]} is not known, as the box was started again meanwhile. Look, and do it again where needed.` } });
      }
    }
    if (this.#tasks.size) this.#timer ??= setTimeout(() => this.#look(), LOOK_MILLIS);
  }

  async #cancel(task) {
    try {
      await api.cancelFileTask(task.id);
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
  }

  view() {
    if (!this.#tasks.size) return nothing;
    return html`<ul class="card task-list" aria-label="Under way">${repeat(this.#tasks.values(), ({ id }) => id, (task) => html`
      <li class="spread small"><span class="cut">${task.kind === "copy" ? "Copying" : "Moving"} <code>${task.from.path}</code> to <code>${task.to.path}</code></span>
      <span class="row-tight quiet nowrap">${count(task.files, "file")}, ${bytes(task.bytes)}<button class="button small ghost" @click=${() => this.#cancel(task)}>Cancel</button></span></li>`)}</ul>`;
  }
}

const WORDS = { copy: "copied", move: "moved" };
