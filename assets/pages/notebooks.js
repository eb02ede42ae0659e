// All notebooks, filtered by what the URL says, and how the first one is made.
import { html, nothing, repeat } from "/html.js";
import { addresses, api } from "/api.js";
import { jobAsCurl } from "/format.js";
import { setQuery } from "/router.js";
import { ListPage } from "/components/list-page.js";
import { firstEnd, isLive, isNear, phaseWord } from "/components/notebook-words.js";
import { openWorkload } from "/components/open-workload.js";
import { empty } from "/components/states.js";
import "/components/code-block.js";
import "/components/state-chip.js";
import "/components/time-ago.js";
import "/components/time-left.js";

const WHOSE = [["", "All of the team"], ["mine", "Mine"], ["public", "Public"]];
const FIRST = { image: "jupyter/scipy-notebook:latest", name: "first" };

export default class NotebooksPage extends ListPage {
  start() {
    super.start();
    this.heading = "Notebooks";
    this.watch(["notebook", "queue"], ({ kind }) => (kind !== "queue" || this.list.value?.items.some(({ phase }) => phase === "queued")) && this.list.refresh());
  }

  fetchPage(part) {
    const { query } = this.route;
    const whose = query.get("whose");
    return api.notebooks({ q: query.get("q"), tag: query.get("tag"), mine: whose === "mine" || null, public: whose === "public" || null, live: query.has("live") || null, ...part });
  }

  view() {
    const whose = this.route.query.get("whose") ?? "";
    return html`
      <header class="page-head">
        <div><h1>Notebooks</h1><p>JupyterLab in one click. Files stay when a notebook stops, and the machine goes back to everybody.</p></div>
        <div class="actions"><a class="button primary" href="/notebooks/new"><ui-icon name="plus" size="s"></ui-icon>New notebook</a></div>
      </header>
      <div class="filters" role="search" aria-label="Filter notebooks">
        ${this.search("notebooks")}
        <div class="segments" role="group" aria-label="Whose">${WHOSE.map(([value, name]) => html`<button aria-pressed=${whose === value ? "true" : "false"} @click=${() => setQuery({ whose: value }, { replace: false })}>${name}</button>`)}</div>
        ${this.liveFilter()}
        ${this.tagFilter()}
      </div>
      <div class="card">${this.list.show(({ items }) => (items.length ? this.#table(items) : this.#none(whose)))}</div>`;
  }

  #table(items) {
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Notebook</th><th>State</th><th class="hide-narrow">Machine</th><th class="hide-narrow">Who</th><th class="hide-narrow">Last activity</th><th class="number">Stops</th><th><span class="visually-hidden">Open</span></th></tr></thead>
        <tbody>${repeat(items, (notebook) => notebook.id, row)}</tbody>
      </table></div>
      ${this.more("Show older notebooks")}`;
  }

  #none(whose) {
    const { query } = this.route;
    if (["q", "tag", "live"].some((name) => query.get(name))) {
      return empty({ icon: "search", title: "No notebook fits these filters", text: "Take one away to see more.", actions: html`<a class="button small" href="/notebooks">Clear the filters</a>` });
    }
    if (whose === "public") return empty({ icon: "globe", title: "Nobody shares a notebook here", text: "A notebook is shared with everybody of this box on its own page. It can then be looked at and forked." });
    return html`
      ${empty({
        icon: "notebook-text",
        title: whose === "mine" ? "You have no notebooks yet" : "No notebooks yet",
        text: "A notebook is JupyterLab in a container, with a folder of its own that outlives every session. Take any image that has JupyterLab in it, or let one begin with the files of a git repository.",
        actions: html`<a class="button primary" href="/notebooks/new?image=${encodeURIComponent(FIRST.image)}&name=first">Make the first one</a>`,
      })}
      <div class="card-body stack-s"><span class="small quiet">The same from a terminal; it starts at once:</span><code-block label="New notebook as curl" .text=${jobAsCurl(addresses.notebooks(), FIRST)}></code-block></div>`;
  }
}

function row(notebook) {
  const { session } = notebook;
  const end = isLive(notebook) ? firstEnd(session) : null;
  return html`
    <tr class="linked" data-notebook=${notebook.id}>
      <td>
        <div class="job-name">
          <span class="row-tight"><a class="row-link cut" href="/notebooks/${notebook.id}">${notebook.name}</a>${notebook.public ? html`<ui-icon name="globe" size="s" title="Public on this box"></ui-icon>` : nothing}${notebook.tags.map((tag) => html`<a class="tag" href="/notebooks?tag=${encodeURIComponent(tag)}">${tag}</a>`)}</span>
          <span class="tiny quiet cut mono">${notebook.image}</span>
        </div>
      </td>
      <td><state-chip of="notebook" state=${notebook.state} phase=${phaseWord(notebook)}></state-chip></td>
      <td class="hide-narrow nowrap soft">${notebook.machineType}</td>
      <td class="hide-narrow nowrap soft">${notebook.user.name}</td>
      <td class="hide-narrow quiet">${session?.activity ? html`<time-ago at=${session.activity.at}></time-ago><div class="tiny cut activity" title=${session.activity.what}>${session.activity.what}</div>` : session?.finishedAt ? html`<time-ago at=${session.finishedAt}></time-ago>` : "–"}</td>
      <td class="number ${end && isNear(session) ? "near" : "quiet"}">${end ? html`in <time-left until=${end.at}></time-left>${end.idle ? html`<div class="tiny">if nothing is done</div>` : nothing}` : "–"}</td>
      <td class="number">${notebook.ready ? html`<button type="button" class="button small" aria-label="Open ${notebook.name}" @click=${() => openWorkload(notebook.id)}><ui-icon name="external-link" size="s"></ui-icon>Open</button>` : nothing}</td>
    </tr>`;
}
customElements.define("notebooks-page", NotebooksPage);
