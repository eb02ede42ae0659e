// A window over the jobs: one page after another by cursor, kept current by the event stream.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { firstPages } from "/components/first-pages.js";
import { Resource } from "/components/resource.js";
import "/components/job-table.js";

const PAGE = 50;

/** Keeps the pages fetched so far. Live changes fetch the same span again, so no job is lost or doubled. */
export class JobList {
  #pages = 1;

  constructor(page, query) {
    this.page = page;
    this.query = query;
    this.resource = new Resource(page, () => {
      const query = this.query();
      return firstPages(this.#pages, (cursor) => api.jobs({ ...query, limit: PAGE, cursor }));
    });
    page.watch(["job"], () => this.resource.refresh());
  }

  load() {
    return this.resource.load();
  }

  /** Another filter: start at the newest job again. */
  reset() {
    this.#pages = 1;
    return this.resource.load();
  }

  show(none, { noProject = false, runs = false } = {}) {
    return this.resource.show(({ items, next }) =>
      items.length
        ? html`
            <job-table ?no-project=${noProject} ?runs=${runs} .jobs=${items}></job-table>
            ${next ? html`<div class="more"><button class="button small" @click=${() => this.#more()}>Show older ${runs ? "runs" : "jobs"}</button></div>` : nothing}`
        : none,
    );
  }

  #more() {
    this.#pages += 1;
    this.resource.load();
  }
}
