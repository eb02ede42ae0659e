// <upload-panel .target .into .curl>: files and folders to a target, dropped or chosen, with progress. They
// go into a folder that is asked for, or into the one that `into` says. `curl` is the same for a terminal.
// Emits "uploaded" when a batch has come to its end.
import { html, nothing } from "/html.js";
import { bytes, count, duration, integer } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { failed } from "/components/states.js";
import { chosenFiles, droppedFiles } from "/components/upload-files.js";
import { uploadQueue } from "/components/upload-queue.js";
import { toast } from "/components/toast-list.js";
import "/components/code-block.js";
import "/components/meter-bar.js";

const SHOWN_FAILURES = 100;

class UploadPanel extends Element {
  folder = "";
  found = null; // Files found in a drop so far, while it is walked.
  unfinished = [];

  start() {
    this.queue = uploadQueue(this.target);
    const changed = () => this.update();
    const settled = () => {
      this.#lookForUnfinished();
      this.dispatchEvent(new CustomEvent("uploaded"));
    };
    this.queue.addEventListener("change", changed);
    this.queue.addEventListener("settled", settled);
    this.onRemoved(() => this.queue.removeEventListener("change", changed));
    this.onRemoved(() => this.queue.removeEventListener("settled", settled));
    this.#lookForUnfinished();
  }

  /** Large files of which an earlier visit sent only parts. */
  async #lookForUnfinished() {
    try {
      this.unfinished = await this.target.unfinished();
      this.update();
    } catch {
      // Then the page says nothing of them; sending the file again finds out.
    }
  }

  view() {
    return html`
      <div class="card upload">
        <div class="drop" @dragenter=${this.#over} @dragover=${this.#over} @dragleave=${this.#out} @drop=${this.#dropped}>
          <ui-icon name="upload" size="l"></ui-icon>
          <strong>${this.found === null ? "Drop files and folders here" : `Looking through the folders: ${count(this.found, "file")}…`}</strong>
          <div class="row center">
            <label class="button small"><input type="file" multiple class="visually-hidden" aria-label="Choose files" @change=${this.#chosen}>Choose files</label>
            <label class="button small"><input type="file" webkitdirectory class="visually-hidden" aria-label="Choose a folder" @change=${this.#chosen}>Choose a folder</label>
          </div>
          <div class="row center small">
            ${typeof this.into === "string" ? html`<span class="quiet">They go into <code>${this.into || "the top"}</code></span>` : html`<label class="row-tight">Into <input class="mono folder-input" placeholder="the top" aria-label="Folder to put them into" .value=${this.folder} @input=${(event) => (this.folder = event.target.value)}></label>`}
            ${this.target.sizes
              ? html`<label class="check"><input type="checkbox" .checked=${this.queue.skipExisting} @change=${(event) => (this.queue.skipExisting = event.target.checked)}>Skip files that are there already with the same size</label>`
              : html`<label class="check"><input type="checkbox" .checked=${this.queue.replace} @change=${(event) => (this.queue.replace = event.target.checked)}>Replace files of the same name</label>`}
          </div>
        </div>
        ${this.queue.items.length ? this.#progress() : nothing}
        ${this.#unfinishedNote()}
        <details class="by-terminal"><summary class="small">From a terminal</summary><code-block label="Upload as curl" .text=${this.curl ?? ""}></code-block></details>
      </div>`;
  }

  #progress() {
    const { queue } = this;
    const share = queue.totalBytes ? queue.sentBytes / queue.totalBytes : queue.settled / queue.items.length;
    const over = !queue.active && !queue.paused;
    return html`
      <div class="upload-progress" role="group" aria-label="Uploads">
        <div class="spread">
          <strong role="status">${this.#state()}</strong>
          <div class="row-tight">
            ${queue.failed.size && !queue.active ? html`<button class="button small" @click=${() => queue.retryFailed()}><ui-icon name="rotate-ccw" size="s"></ui-icon>Retry ${count(queue.failed.size, "failed file")}</button>` : nothing}
            ${queue.active ? html`<button class="button small" @click=${() => queue.pause()}><ui-icon name="pause" size="s"></ui-icon>Pause</button>` : nothing}
            ${queue.paused ? html`<button class="button small" @click=${() => queue.resume()}><ui-icon name="play" size="s"></ui-icon>Resume</button>` : nothing}
            <button class="button small ghost" @click=${() => queue.clear()}>${over ? "Clear" : "Cancel"}</button>
          </div>
        </div>
        <meter-bar .label=${`${integer(queue.settled)} of ${count(queue.items.length, "file")}`} .text=${`${bytes(queue.sentBytes)} of ${bytes(queue.totalBytes)}`} .value=${over ? 1 : share} tone=${queue.failed.size ? "waiting" : "accent"}></meter-bar>
        ${queue.problem ? failed(queue.problem) : nothing}
        ${queue.sending.size ? html`<ul class="upload-files" aria-label="Being sent">${[...queue.sending].map((item) => html`<li><span class="mono cut small">${item.path}</span><span class="tiny quiet nowrap">${bytes(Math.min(item.sent, item.file.size))} of ${bytes(item.file.size)}</span><meter-bar aria-label=${item.path} .value=${item.file.size ? item.sent / item.file.size : 0}></meter-bar></li>`)}</ul>` : nothing}
        ${queue.failed.size ? this.#failures([...queue.failed]) : nothing}
      </div>`;
  }

  #state() {
    const { queue } = this;
    if (queue.looking) return "Looking which files are there already…";
    if (queue.paused) return "Paused";
    if (queue.active) {
      const left = queue.rate > 0 ? (queue.totalBytes - queue.sentBytes) / queue.rate : null;
      return `Uploading${queue.rate > 0 ? ` at ${bytes(queue.rate)}/s` : ""}${left === null ? "" : `, about ${duration(Math.ceil(left))} left`}`;
    }
    const words = [count(queue.done, "file was", "files were") + " uploaded"];
    if (queue.skipped) words.push(`${integer(queue.skipped)} skipped as already there`);
    if (queue.failed.size) words.push(`${integer(queue.failed.size)} failed`);
    return words.join(", ");
  }

  #failures(items) {
    return html`
      <ul class="upload-files failures" aria-label="Failed">${items.slice(0, SHOWN_FAILURES).map((item) => html`<li><span class="mono cut small" title=${item.path}>${item.path}</span><span class="small wrong">${item.problem.detail ?? item.problem.message}</span></li>`)}</ul>
      ${items.length > SHOWN_FAILURES ? html`<p class="tiny quiet">and ${integer(items.length - SHOWN_FAILURES)} more</p>` : nothing}`;
  }

  #unfinishedNote() {
    const sending = new Set([...this.queue.items].filter(({ state }) => state === "sending" || state === "waiting").map(({ path }) => path));
    const left = this.unfinished.filter(({ path }) => !sending.has(path));
    if (!left.length) return nothing;
    return html`
      <div class="note unfinished" data-tone="waiting"><ui-icon name="clock"></ui-icon><div class="grow stack-s">
        <strong>Unfinished uploads</strong>
        <span class="small soft">Choose or drop the same file again, and only what is missing is sent.</span>
        ${left.map((upload) => html`<div class="spread small"><span class="mono cut">${upload.path}</span><span class="row-tight"><span class="quiet nowrap">${bytes(upload.sentBytes)} are there</span><button class="button small ghost" aria-label="Discard what there is of ${upload.path}" @click=${() => this.#discard(upload)}>Discard</button></span></div>`)}
      </div></div>`;
  }

  async #discard(upload) {
    try {
      await this.target.discard(upload.id);
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.#lookForUnfinished();
  }

  #over = (event) => {
    event.preventDefault();
    event.currentTarget.classList.add("over");
  };

  #out = (event) => {
    if (!event.currentTarget.contains(event.relatedTarget)) event.currentTarget.classList.remove("over");
  };

  #dropped = async (event) => {
    event.preventDefault();
    event.currentTarget.classList.remove("over");
    this.found = 0;
    this.update();
    try {
      const files = await droppedFiles(event.dataTransfer, (found) => {
        this.found = found;
        this.update();
      });
      this.#add(files);
    } catch (cause) {
      toast(`A folder could not be read: ${cause.message}`, "bad");
    }
    this.found = null;
    this.update();
  };

  #chosen = (event) => {
    this.#add(chosenFiles(event.target.files));
    event.target.value = ""; // So that the same file can be chosen again.
  };

  #add(files) {
    if (!files.length) return toast("There were no files in it.", "bad");
    this.queue.add(files, (this.into ?? this.folder).trim().replace(/^\/+|\/+$/g, ""));
  }
}

reactive(UploadPanel, ["target", "into", "curl"]);
customElements.define("upload-panel", UploadPanel);
