// <tensorboard-members .board=${…}>: what it shows, why something is left out, and another choice. Emits "changed".
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { Element, reactive } from "/components/element.js";
import { isLive, sentence } from "/components/notebook-words.js";
import { empty } from "/components/states.js";
import { askMembers } from "/components/tensorboard-dialog.js";
import { MEMBER_KINDS, memberAddress, memberPart } from "/components/tensorboard-words.js";
import { toast } from "/components/toast-list.js";
import "/components/state-chip.js";
import "/components/time-ago.js";
import "/components/ui-icon.js";

class TensorboardMembers extends Element {
  busy = null; // The name of the member that is being removed.

  view() {
    const { members } = this.board;
    const add = html`<button type="button" class="button ${members.length ? "small" : "primary"}" @click=${this.#add}><ui-icon name="plus" size="s"></ui-icon>Add</button>`;
    if (!members.length) return html`<div class="card">${empty({ icon: "chart-line", title: "It shows nothing yet", text: "Add the artifacts of jobs and experiments, folders of notebooks or versions of datasets: TensorBoard draws the event files in them.", actions: add })}</div>`;
    return html`
      <div class="card">
        <div class="card-head"><h2>What it shows</h2>${add}</div>
        <div class="table-wrap"><table class="members">
          <thead><tr><th>Name</th><th>What it is</th><th class="number hide-narrow">Added</th><th><span class="visually-hidden">Actions</span></th></tr></thead>
          <tbody>${repeat(members, ({ name }) => name, (member) => this.#row(member))}</tbody>
        </table></div>
      </div>`;
  }

  #row(member) {
    const { name, kind, title, gone, state } = member;
    const address = memberAddress(member);
    const why = sentence(member.message) || (gone ? "It was deleted, or is not for this team any more, and is left out." : "");
    return html`
      <tr data-member=${name}>
        <td class="member-name"><strong class="cut">${name}</strong></td>
        <td>
          <div class="member">
            <ui-icon name=${MEMBER_KINDS[kind].icon} title=${kind}></ui-icon>
            <div class="stack-0">
              <span class="cut">${address ? html`<a class="link" href=${address}>${title}</a>` : html`<span class="quiet">gone</span>`} <span class="tiny quiet mono">${memberPart(member)}</span>${state ? html` <state-chip state=${state}></state-chip>` : nothing}</span>
              ${why ? html`<span class="small left-out"><ui-icon name="triangle-alert" size="s"></ui-icon><span>${why}</span></span>` : nothing}
            </div>
          </div>
        </td>
        <td class="number quiet hide-narrow"><time-ago at=${member.addedAt}></time-ago></td>
        <td class="number"><button type="button" class="button small ghost danger" aria-label="Remove ${name}" ?disabled=${this.busy === name} @click=${() => this.#remove(name)}>Remove</button></td>
      </tr>`;
  }

  #add = async () => {
    const board = await askMembers(this.board);
    if (board) this.#changed("Added.", board);
  };

  async #remove(name) {
    this.busy = name;
    try {
      this.#changed(`${name} was removed.`, await api.removeMember(this.board.id, name));
    } catch (problem) {
      toast(problem.detail ?? problem.message, "bad");
    }
    this.busy = null;
  }

  #changed(words, board) {
    toast(isLive(board) ? `${words} The page of TensorBoard is back within seconds.` : words);
    this.dispatchEvent(new CustomEvent("changed"));
  }
}

reactive(TensorboardMembers, ["board", "busy"]);
customElements.define("tensorboard-members", TensorboardMembers);
