// <tensorboard-settings .board=${…}>: what its next start runs, to be changed. Emits "changed".
import { html } from "/html.js";
import { api } from "/api.js";
import { Element, reactive } from "/components/element.js";
import { isLive } from "/components/notebook-words.js";
import { toast } from "/components/toast-list.js";
import { changesOfBoard, draftOfBoard } from "/pages/tensorboard-draft.js";
import "/components/tensorboard-form.js";

class TensorboardSettings extends Element {
  start() {
    this.#begin(this.board);
  }

  #begin(board) {
    this.before = board;
    this.draft = draftOfBoard(board);
  }

  view() {
    return html`
      <div class="settings">
        ${isLive(this.board) ? html`<p class="small quiet page-note">Name, project and when it stops count at once; image and machine from its next start on.</p>` : ""}
        <tensorboard-form mode="edit" .draft=${this.draft} .problem=${this.problem} .busy=${this.busy} @send=${this.#send}></tensorboard-form>
      </div>`;
  }

  #send = async () => {
    const changes = changesOfBoard(this.before, this.draft);
    if (!Object.keys(changes).length) return toast("Nothing was changed.");
    this.problem = null;
    this.busy = "Saving…";
    try {
      this.#begin(await api.changeTensorboard(this.board.id, changes));
      toast("Saved.");
      this.dispatchEvent(new CustomEvent("changed"));
    } catch (problem) {
      this.problem = problem;
    }
    this.busy = null;
  };
}

reactive(TensorboardSettings, ["board", "draft", "problem", "busy"]);
customElements.define("tensorboard-settings", TensorboardSettings);
