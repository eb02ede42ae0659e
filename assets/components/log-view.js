// <log-view .job=${…} .anchor=${line|null}>: a job's log: follow, search, links to lines, download.
import { html, nothing } from "/html.js";
import { addresses } from "/api.js";
import { count, integer } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { LogRows } from "/components/log-rows.js";
import { failed } from "/components/states.js";
import "/components/log-window.js";
import "/components/ui-icon.js";

const SEARCH_DELAY_MILLIS = 250;

class LogView extends Element {
  follow = true;
  query = "";
  matches = [];
  at = 0; // Which match is shown.

  start() {
    this.#open();
    this.onRemoved(() => this.rows.close());
  }

  #open(attempt) {
    this.rows?.close();
    this.problem = null;
    this.attempt = attempt;
    this.openedAttempt = this.job.attempt;
    this.openedState = this.job.state;
    this.rows = new LogRows(this.job.id, attempt);
    this.rows.addEventListener("change", () => this.#footSoon());
    this.rows.addEventListener("problem", (event) => {
      this.problem = event.detail;
      this.update();
    });
    this.rows.open().then(() => this.#toAnchor());
    this.update();
  }

  /** The counts are words for people: a few times a second is often enough. */
  #footSoon() {
    if (this.footTimer) return void (this.footStale = true);
    this.update();
    this.footTimer = setTimeout(() => {
      this.footTimer = null;
      if (this.footStale) this.update();
      this.footStale = false;
    }, 100);
  }

  get window() {
    return this.querySelector("log-window");
  }

  #toAnchor() {
    const anchor = this.anchor;
    if (anchor === null || anchor === undefined || !this.window || !this.rows.opened || anchor === this.shownAnchor) return;
    this.shownAnchor = anchor;
    this.window.marked = anchor;
    this.window.restyle();
    if (anchor < this.rows.total) this.window.reveal(anchor);
  }

  view() {
    const { total, ended, opened } = this.rows;
    return html`
      <div class="bar">
        <div class="search" role="search">
          <ui-icon name="search" size="s"></ui-icon>
          <input type="search" placeholder="Search the log" aria-label="Search the log" data-search @input=${this.#typed} @keydown=${this.#searchKey}>
          <kbd aria-hidden="true">/</kbd>
        </div>
        ${this.query ? this.#matchControls() : nothing}
        <span class="grow"></span>
        ${this.#attempts()}
        ${ended
          ? html`<button class="button small" @click=${() => this.window.toEnd()}><ui-icon name="arrow-down-to-line" size="s"></ui-icon>To the end</button>`
          : html`<button class="button small" aria-pressed=${this.follow ? "true" : "false"} @click=${this.#toggleFollow}><ui-icon name="arrow-down-to-line" size="s"></ui-icon>Follow</button>`}
        <a class="button small" href=${addresses.logDownload(this.job.id, this.attempt)} download><ui-icon name="download" size="s"></ui-icon>Download</a>
      </div>
      <log-window .rows=${this.rows} @follow-changed=${(event) => this.#followed(event.detail)}></log-window>
      ${this.problem ? html`<div class="nothing">${failed(this.problem, () => this.#open(this.attempt))}</div>` : nothing}
      ${!this.problem && opened && total === 0 ? html`<p class="nothing">${ended ? "The job wrote nothing." : "Nothing was written yet. Lines appear here as the job writes them."}</p>` : nothing}
      <div class="foot">
        <span>${count(total, "line")}</span>
        ${ended ? html`<span>complete</span>` : html`<span class="live">live</span>`}
      </div>`;
  }

  drawn() {
    this.#toAnchor();
    // Another attempt has a log of its own, and a log that could not be read may be there by now.
    const moved = this.job.attempt !== this.openedAttempt || (this.problem && this.job.state !== this.openedState);
    if (moved && this.attempt === undefined) this.#open();
  }

  #attempts() {
    if (!(this.job.attempt > 1)) return nothing;
    return html`<select aria-label="Attempt" @change=${(event) => this.#open(event.target.value || undefined)}>
      <option value="">Attempt ${this.job.attempt} (latest)</option>
      ${Array.from({ length: this.job.attempt - 1 }, (_, i) => html`<option value=${i + 1}>Attempt ${i + 1}</option>`)}
    </select>`;
  }

  #matchControls() {
    const total = this.matches.length;
    return html`
      <span class="small quiet nowrap" role="status">${total ? `${integer(this.at + 1)} of ${total === 1000 ? "1,000 or more" : integer(total)}` : this.searching ? "Searching…" : "No line has it"}</span>
      <button class="button small icon-only ghost" aria-label="Previous match" ?disabled=${!total} @click=${() => this.#step(-1)}><ui-icon name="chevron-up"></ui-icon></button>
      <button class="button small icon-only ghost" aria-label="Next match" ?disabled=${!total} @click=${() => this.#step(1)}><ui-icon name="chevron-down"></ui-icon></button>`;
  }

  #typed = (event) => {
    const query = event.target.value;
    clearTimeout(this.searchTimer);
    this.searchTimer = setTimeout(() => this.#search(query), SEARCH_DELAY_MILLIS);
  };

  #searchKey = (event) => {
    if (event.key === "Enter") this.#step(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") event.target.blur();
  };

  async #search(query) {
    this.searchAbort?.abort();
    this.searchAbort = new AbortController();
    Object.assign(this, { query, matches: [], at: 0, searching: query !== "" });
    this.update();
    if (query) {
      try {
        this.matches = await this.rows.find(query, this.searchAbort.signal);
      } catch (problem) {
        if (problem.name === "AbortError") return;
        this.problem = problem;
      }
    }
    this.searching = false;
    this.window.query = query;
    this.window.found = new Set(this.matches);
    this.window.restyle();
    if (this.matches.length) this.#step(0);
    this.update();
  }

  #step(by) {
    const total = this.matches.length;
    if (!total) return;
    this.at = (this.at + by + total) % total;
    this.window.marked = this.matches[this.at];
    this.window.reveal(this.matches[this.at]);
    this.window.restyle();
    this.update();
  }

  #toggleFollow = () => {
    if (this.follow) {
      this.window.follow = false;
      this.#followed(false);
    } else this.window.toEnd();
  };

  #followed(follow) {
    this.follow = follow;
    this.update();
  }
}

reactive(LogView, ["job", "anchor"]);
customElements.define("log-view", LogView);
