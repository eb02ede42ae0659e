// <notebook-sessions .notebook=${…}>: every session that it had, each with its log and metrics.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { Element, reactive } from "/components/element.js";
import { firstPages } from "/components/first-pages.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import "/components/state-chip.js";
import "/components/time-ago.js";

const PAGE = 50;

class NotebookSessions extends Element {
  pages = 1;

  start() {
    this.sessions = new Resource(this, () => firstPages(this.pages, (cursor) => api.sessions(this.notebook.id, { limit: PAGE, cursor })));
    this.sessions.load();
  }

  view() {
    // A session that began or ended is told by the notebook itself.
    const latest = `${this.notebook.session?.id}/${this.notebook.session?.state}`;
    if (this.latest && this.latest !== latest) this.sessions.refresh();
    this.latest = latest;
    return html`<div class="card">${this.sessions.show(({ items, next }) => (items.length ? this.#table(items, next) : empty({ icon: "clock", title: "It was never started", text: "Each start makes a session, which ends by itself or when somebody stops it." })))}</div>`;
  }

  #table(items, next) {
    const link = (session, tab) => `/notebooks/${this.notebook.id}/${tab}?session=${session.id}`;
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Session</th><th>State</th><th class="number hide-narrow">GPUs</th><th class="number hide-narrow">Ran</th><th class="number">Began</th><th class="number"><span class="visually-hidden">What is kept of it</span></th></tr></thead>
        <tbody>${repeat(items, (session) => session.id, (session) => html`
          <tr>
            <td class="mono"><a class="link" href=${link(session, "log")}>${session.id}</a></td>
            <td><state-chip of="notebook" state=${session.state}></state-chip>${session.message ? html`<div class="tiny quiet">${session.message}</div>` : nothing}</td>
            <td class="number soft hide-narrow">${session.gpus.length || "–"}</td>
            <td class="number hide-narrow">${session.startedAt ? html`<time-ago at=${session.startedAt} until=${session.finishedAt ?? ""}></time-ago>` : html`<span class="quiet">–</span>`}</td>
            <td class="number quiet"><time-ago at=${session.createdAt}></time-ago></td>
            <td class="number"><a class="link" href=${link(session, "log")}>Log</a> <a class="link" href=${link(session, "metrics")}>Metrics</a></td>
          </tr>`)}</tbody>
      </table></div>
      ${next ? html`<div class="more"><button class="button small" @click=${() => { this.pages += 1; this.sessions.load(); }}>Show older sessions</button></div>` : nothing}`;
  }
}

reactive(NotebookSessions, ["notebook"]);
customElements.define("notebook-sessions", NotebookSessions);
