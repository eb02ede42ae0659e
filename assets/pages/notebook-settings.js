// <notebook-settings .notebook=${…}>: what its next start runs, to be changed. Emits "changed".
import { html } from "/html.js";
import { api } from "/api.js";
import { Element, reactive } from "/components/element.js";
import { isLive } from "/components/notebook-words.js";
import { toast } from "/components/toast-list.js";
import { changesOfNotebook, draftOfNotebook } from "/pages/notebook-draft.js";
import "/components/notebook-form.js";

class NotebookSettings extends Element {
  start() {
    this.#begin();
  }

  #begin() {
    this.before = draftOfNotebook(this.notebook.spec);
    this.draft = draftOfNotebook(this.notebook.spec);
  }

  view() {
    return html`
      <div class="settings">
        ${isLive(this.notebook) ? html`<p class="small quiet page-note">Name, tags, sharing, datasets and when it stops count at once. All else counts from its next start on.</p>` : ""}
        <notebook-form mode="edit" .draft=${this.draft} .problem=${this.problem} .busy=${this.busy} @send=${this.#send}></notebook-form>
      </div>`;
  }

  #send = async () => {
    const changes = changesOfNotebook(this.before, this.draft);
    if (!Object.keys(changes).length) return toast("Nothing was changed.");
    this.problem = null;
    this.busy = "Saving…";
    try {
      await api.changeNotebook(this.notebook.id, changes);
      this.before = structuredClone(this.draft);
      toast(isLive(this.notebook) ? "Saved. What its container is made of counts from its next start on." : "Saved.");
      this.dispatchEvent(new CustomEvent("changed"));
    } catch (problem) {
      this.problem = problem;
    }
    this.busy = null;
  };
}

reactive(NotebookSettings, ["notebook", "draft", "problem", "busy"]);
customElements.define("notebook-settings", NotebookSettings);
