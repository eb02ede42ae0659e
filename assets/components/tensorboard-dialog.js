// Showing something in a TensorBoard, from the page on which it stands: in a new one, or in one that there is.
import { html } from "/html.js";
import { api } from "/api.js";
import { count } from "/format.js";
import { askForm, field } from "/components/form-dialog.js";
import { blankTab, openWorkload } from "/components/open-workload.js";
import { memberOf } from "/components/tensorboard-words.js";
import { toast } from "/components/toast-list.js";
import "/components/member-editor.js";
import "/components/ui-icon.js";

const LISTED = 200;

/** The button that shows a member `{ kind, id, title, project, path, ref }` in a TensorBoard; a new one is made in that project. */
export function tensorboardButton(member, { small = false } = {}) {
  return html`<button type="button" class="button ${small ? "small" : ""}" title="Show it in a TensorBoard" @click=${() => showInTensorboard(member)}><ui-icon name="chart-line" size="s"></ui-icon>TensorBoard</button>`;
}

/** Asks in which TensorBoard, adds the member to that one and opens it in another tab. */
export async function showInTensorboard(member) {
  let boards, having;
  try {
    [boards, having] = await Promise.all([api.tensorboards({ limit: LISTED }), api.tensorboards({ member: member.id, limit: LISTED })]);
  } catch (problem) {
    return toast(problem.detail ?? problem.message, "bad");
  }
  const shows = new Set(having.items.map(({ id }) => id));
  // Of a notebook or a dataset they may show another folder or another version.
  const same = ["job", "experiment"].includes(member.kind);
  const items = [...having.items, ...boards.items.filter(({ id }) => !shows.has(id))];
  let where = same && having.items.length ? "old" : "new";
  let tab = null;
  const board = await askForm({
    title: "Show it in TensorBoard",
    text: TEXT[member.kind](html`<strong>${member.title}</strong>`),
    action: "Open",
    body: ({ invalid, redraw }) => {
      const choose = (to) => () => { where = to; redraw(); };
      const name = field("board-name", "Name", html`<input id="board-name" name="name" .value=${member.title.slice(0, 128)} maxlength="128" autocomplete="off" aria-invalid=${invalid("name")}>`);
      if (!items.length) return name;
      const words = ({ id, memberCount }) => (shows.has(id) ? (same ? "shows it already" : "shows a part of it") : `shows ${count(memberCount, "member")}`);
      return html`
        <div class="segments" role="radiogroup" aria-label="In which">
          <label><input type="radio" name="where" value="new" .checked=${where === "new"} @change=${choose("new")}>A new one</label>
          <label><input type="radio" name="where" value="old" .checked=${where === "old"} @change=${choose("old")}>An existing one</label>
        </div>
        ${where === "new" ? name : field("board", "TensorBoard", html`<select id="board" name="board">${items.map((item) => html`<option value=${item.id}>${item.name} (${words(item)})</option>`)}</select>`, "One that runs shows it within seconds, at the same address.")}`;
    },
    submit: async (fields) => {
      tab = blankTab();
      try {
        return fields.board ? await withMember(fields.board, member) : await api.createTensorboard({ name: fields.name.trim() || undefined, project: member.project, members: [memberOf(member)] });
      } catch (problem) {
        tab?.close();
        throw problem;
      }
    },
  });
  if (!board) return;
  toast(`${board.name} shows ${member.title}.`, "good", `/tensorboards/${board.id}`);
  await openWorkload(board.id, { tab });
}

const TEXT = {
  job: (title) => html`TensorBoard draws what ${title} writes to /artifacts, also while it runs.`,
  experiment: (title) => html`TensorBoard draws the artifacts of all runs of ${title}, later ones too.`,
  notebook: (title) => html`TensorBoard draws what lies in ${title} and beneath, also while the notebook writes.`,
  dataset: (title) => html`TensorBoard draws what lies in ${title}.`,
};

/** A TensorBoard that has the member already is as good as one that gets it. */
async function withMember(id, member) {
  try {
    return await api.addMembers(id, [memberOf(member)]);
  } catch (problem) {
    if (problem.code !== "already_member") throw problem;
    return api.tensorboard(id);
  }
}

/** Asks what else a TensorBoard shows, and adds it; returns it as it stands then, or null. */
export function askMembers(board) {
  let rows = [];
  return askForm({
    title: `Add to ${board.name}`,
    action: "Add",
    wide: true,
    body: ({ problem, redraw }) => html`<member-editor wordless .rows=${rows} .problem=${problem} @edit=${(event) => { rows = event.detail; redraw(); }}></member-editor>`,
    submit: () => {
      if (!rows.length) throw { code: "none_chosen", detail: "Choose at least one: press Add beside it." };
      return api.addMembers(board.id, rows.map(memberOf));
    },
  });
}
