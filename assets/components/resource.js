// One thing that a page fetches: its value, whether it is being asked for, and what went wrong.
import { html } from "/html.js";
import { loading, failed } from "/components/states.js";

const REFRESH_GAP_MILLIS = 300;

/**
 * Keeps the last value while a new one is fetched, so that live updates never flash. Answers that
 * arrive after a later question are dropped.
 */
export class Resource {
  value = undefined;
  problem = null;
  #asked = 0;
  #answered = 0;
  #timer = null;
  #stale = false;

  constructor(page, fetcher) {
    this.page = page;
    this.fetcher = fetcher;
    page.onRemoved(() => {
      this.#asked += 1;
      clearTimeout(this.#timer);
    });
  }

  async load() {
    const mine = ++this.#asked;
    try {
      const value = await this.fetcher();
      if (mine !== this.#asked) return;
      this.value = value;
      this.problem = null;
    } catch (problem) {
      if (mine !== this.#asked || problem.name === "AbortError") return;
      this.problem = problem;
    }
    this.#answered = mine;
    this.page.update();
    if (this.#stale) this.refresh();
  }

  /**
   * Loads soon: a burst of events costs one request. While one is under way the next waits for its
   * answer, or a stream of events quicker than the answers would show nothing ever.
   */
  refresh() {
    this.#stale = true;
    if (this.#timer || this.#answered !== this.#asked) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#stale = false;
      this.load();
    }, REFRESH_GAP_MILLIS);
  }

  /** Forgets the value, so that another thing's is not shown in its place. */
  reset() {
    this.value = undefined;
    this.problem = null;
    return this.load();
  }

  /** Draws the value, or that it is loading, or the problem (above the last value where there is one). */
  show(view) {
    const problem = this.problem ? failed(this.problem, () => this.load()) : null;
    if (this.value === undefined) return problem ?? loading();
    return problem ? html`${problem}${view(this.value)}` : view(this.value);
  }
}
