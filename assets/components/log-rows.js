// The lines of one log that the browser holds: ranges around the view, and what the follow brings.
import { api } from "/api.js";
import { followLog } from "/events.js";

const CHUNK = 500;
const KEPT_ROWS = 20_000;

/** Emits "change" when rows, the total, or whether the log has ended change, and "problem". */
export class LogRows extends EventTarget {
  total = 0;
  ended = false;
  opened = false;
  #rows = new Map();
  #asked = new Set();
  #abort = new AbortController();
  #stopFollowing = null;

  constructor(jobId, attempt) {
    super();
    this.jobId = jobId;
    this.attempt = attempt;
  }

  /** Fetches the end of the log, then follows it until the run has ended. */
  async open() {
    try {
      this.#take(await this.#fetch({ tail: CHUNK }));
    } catch (problem) {
      return this.#fail(problem);
    }
    this.opened = true;
    this.#changed();
    if (!this.ended) this.#follow();
  }

  close() {
    this.#abort.abort();
    this.#stopFollowing?.();
  }

  row(line) {
    return this.#rows.get(line);
  }

  /** Asks for what is missing of a range of lines; "change" tells when it is there. */
  ensure(first, last) {
    for (let chunk = Math.floor(first / CHUNK); chunk <= Math.floor(last / CHUNK); chunk += 1) {
      if (this.#asked.has(chunk) || this.#has(chunk, first, last)) continue;
      this.#asked.add(chunk);
      this.#fetch({ start: chunk * CHUNK, limit: CHUNK })
        .then((page) => this.#take(page), (problem) => this.#fail(problem))
        .finally(() => {
          this.#asked.delete(chunk);
          this.#changed();
        });
    }
    if (this.#rows.size > KEPT_ROWS) this.#forget(first, last);
  }

  /** The numbers of the lines that hold a text, at most a thousand. */
  async find(text, signal) {
    const page = await api.logLines(this.jobId, { q: text, limit: 1000, attempt: this.attempt }, { signal });
    return page.items.map((row) => row.line);
  }

  #fetch(query) {
    return api.logLines(this.jobId, { ...query, attempt: this.attempt }, { signal: this.#abort.signal });
  }

  #has(chunk, first, last) {
    const from = Math.max(first, chunk * CHUNK);
    const to = Math.min(last, chunk * CHUNK + CHUNK - 1, this.total - 1);
    for (let line = from; line <= to; line += 1) if (!this.#rows.has(line)) return false;
    return true;
  }

  #take(page) {
    for (const row of page.items) this.#rows.set(row.line, row);
    this.total = Math.max(this.total, page.total);
    this.ended ||= page.ended;
  }

  #follow() {
    this.#stopFollowing = followLog(this.jobId, {
      start: this.total,
      attempt: this.attempt,
      onLine: (row) => {
        this.#rows.set(row.line, row);
        this.total = Math.max(this.total, row.line + 1);
        this.#changed();
      },
      onEnd: () => {
        this.ended = true;
        this.#changed();
      },
    });
  }

  /** Keeps memory bounded while a long log runs by: what is far from the view can be asked for again. */
  #forget(first, last) {
    for (const line of this.#rows.keys()) {
      if (line < first - 2 * CHUNK || line > last + 2 * CHUNK) this.#rows.delete(line);
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #fail(problem) {
    if (problem.name === "AbortError") return;
    this.dispatchEvent(new CustomEvent("problem", { detail: problem }));
  }
}
