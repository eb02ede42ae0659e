// All TensorBoards, filtered by what the URL says, and what one is for.
import { html, nothing, repeat } from "/html.js";
import { addresses, api } from "/api.js";
import { count, postAsCurl } from "/format.js";
import { setQuery } from "/router.js";
import { ListPage } from "/components/list-page.js";
import { firstEnd, isLive, isNear, phaseWord } from "/components/notebook-words.js";
import { openWorkload } from "/components/open-workload.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import "/components/code-block.js";
import "/components/state-chip.js";
import "/components/time-ago.js";
import "/components/time-left.js";

const LIVE_STATES = "pending,provisioned,running";
const FILTERS = ["q", "project", "member", "live"];
const WRITES = 'from torch.utils.tensorboard import SummaryWriter\n\nwriter = SummaryWriter("/artifacts")\nwriter.add_scalar("loss", loss, step)';

export default class TensorboardsPage extends ListPage {
  start() {
    super.start();
    this.heading = "TensorBoards";
    this.projects = new Resource(this, () => api.projects({ limit: 500 }));
    this.projects.load();
    this.watch(["tensorboard", "project"], ({ kind }) => (kind === "project" ? this.projects : this.list).refresh());
  }

  fetchPage(part) {
    const { query } = this.route;
    return api.tensorboards({ q: query.get("q"), project: query.get("project"), member: query.get("member"), state: query.has("live") ? LIVE_STATES : null, ...part });
  }

  view() {
    const { query } = this.route;
    const member = query.get("member");
    return html`
      <header class="page-head">
        <div><h1>TensorBoards</h1><p>What runs wrote, drawn side by side, also while they write. One starts when somebody opens it and stops when nobody looks.</p></div>
        <div class="actions"><a class="button primary" href="/tensorboards/new"><ui-icon name="plus" size="s"></ui-icon>New TensorBoard</a></div>
      </header>
      <div class="filters" role="search" aria-label="Filter TensorBoards">
        ${this.search("TensorBoards")}
        <select aria-label="Project" @change=${(event) => setQuery({ project: event.target.value }, { replace: false })}>
          <option value="">All projects</option>
          ${this.projects.value?.items.map((project) => html`<option value=${project.id} ?selected=${query.get("project") === project.id}>${project.name}</option>`)}
        </select>
        ${this.liveFilter()}
        ${member ? html`<button class="button small" @click=${() => setQuery({ member: null }, { replace: false })} aria-label="Show also those without ${member}">shows <code>${member}</code><ui-icon name="x" size="s"></ui-icon></button>` : nothing}
      </div>
      <div class="card">${this.list.show(({ items }) => (items.length ? this.#table(items) : this.#none()))}</div>`;
  }

  #table(items) {
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>TensorBoard</th><th>State</th><th class="hide-narrow">Shows</th><th class="hide-narrow">Who</th><th class="hide-narrow">Last look</th><th class="number hide-narrow">Stops</th><th><span class="visually-hidden">Open</span></th></tr></thead>
        <tbody>${repeat(items, (board) => board.id, row)}</tbody>
      </table></div>
      ${this.more("Show older TensorBoards")}`;
  }

  #none() {
    if (FILTERS.some((name) => this.route.query.get(name))) {
      return empty({ icon: "search", title: "No TensorBoard fits these filters", text: "Take one away to see more.", actions: html`<a class="button small" href="/tensorboards">Clear the filters</a>` });
    }
    return html`
      ${empty({
        icon: "chart-line",
        title: "No TensorBoards yet",
        text: "A TensorBoard draws the event files of any number of jobs, experiments, notebook folders and dataset versions. Press “TensorBoard” on the page of one of them, or choose several here.",
        actions: html`<a class="button primary" href="/tensorboards/new">Make the first one</a>`,
      })}
      <div class="card-body two">
        <div class="stack-s"><span class="small quiet">What a job writes to /artifacts is drawn at once:</span><code-block label="Writing event files in a job" .text=${WRITES}></code-block></div>
        <div class="stack-s"><span class="small quiet">A TensorBoard from a terminal:</span><code-block label="New TensorBoard as curl" .text=${postAsCurl(addresses.tensorboards(), { name: "first", members: [{ job: "JOB" }] })}></code-block></div>
      </div>`;
  }
}

function row(board) {
  const { session } = board;
  const end = isLive(board) ? firstEnd(session) : null;
  const looked = session?.activity?.at ?? session?.finishedAt;
  return html`
    <tr class="linked" data-tensorboard=${board.id}>
      <td><div class="job-name"><a class="row-link cut" href="/tensorboards/${board.id}">${board.name}</a><span class="tiny quiet cut">${board.project.name}</span></div></td>
      <td><state-chip of="tensorboard" state=${board.state} phase=${phaseWord(board)}></state-chip></td>
      <td class="hide-narrow nowrap soft">${board.memberCount ? count(board.memberCount, "member") : html`<span class="quiet">nothing yet</span>`}</td>
      <td class="hide-narrow nowrap soft">${board.user.name}</td>
      <td class="hide-narrow quiet nowrap">${looked ? html`<time-ago at=${looked}></time-ago>` : "–"}</td>
      <td class="number hide-narrow ${end && isNear(session) ? "near" : "quiet"}">${end ? html`in <time-left until=${end.at}></time-left>` : "–"}</td>
      <td class="number"><button type="button" class="button small" aria-label="Open ${board.name}" title=${isLive(board) ? "In a tab of its own" : "It starts and is opened in a tab of its own"} @click=${() => openWorkload(board.id)}><ui-icon name="external-link" size="s"></ui-icon>Open</button></td>
    </tr>`;
}
customElements.define("tensorboards-page", TensorboardsPage);
