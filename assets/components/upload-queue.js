// Files on their way to the box: a few at a time, with progress, pause and retry.
//
// Where they go is a target of upload-targets.js. A queue outlives the page that began it: leaving for
// another page of the UI does not stop it.

/** A browser keeps six connections to one host. One is the stream of events, one is for the pages. */
const PARALLEL = 4;
const DRAW_GAP_MILLIS = 120;

const queues = new Map();

/** The queue of a target, which is kept while the tab is. */
export function uploadQueue(target) {
  if (!queues.has(target.key)) queues.set(target.key, new UploadQueue(target));
  return queues.get(target.key);
}

addEventListener("beforeunload", (event) => {
  if ([...queues.values()].some((queue) => queue.active)) event.preventDefault();
});

/** Emits "change" as things go on, and "settled" when nothing is left to do or all is paused. */
class UploadQueue extends EventTarget {
  items = []; // { path, file, state, sent, problem }
  sending = new Set();
  failed = new Set();
  done = 0;
  skipped = 0;
  totalBytes = 0;
  paused = false;
  problem = null; // What stopped the whole queue.
  looking = false; // Whether the files that are there already are being listed.
  /** Leaves out files that are there already with the same size, where the target can tell. */
  skipExisting = true;
  /** Replaces files of the same name, where the target keeps them otherwise. */
  replace = false;
  #settledBytes = 0;
  #next = 0;
  #abort = new AbortController();
  #known = null;
  #epoch = 0; // Counts how often all was cleared.
  #drawing = null;
  #began = null; // { at, bytes } since the last start, for the rate.

  constructor(target) {
    super();
    this.target = target;
  }

  get active() {
    return !this.paused && (this.sending.size > 0 || this.looking || this.#next < this.items.length);
  }

  get settled() {
    return this.done + this.skipped + this.failed.size;
  }

  get sentBytes() {
    let sum = this.#settledBytes;
    for (const item of this.sending) sum += Math.min(item.sent, item.file.size);
    return sum;
  }

  /** Bytes a second since the last start; null until it can be told. */
  get rate() {
    const seconds = this.#began ? (performance.now() - this.#began.at) / 1000 : 0;
    return seconds > 1 ? (this.sentBytes - this.#began.bytes) / seconds : null;
  }

  /** Adds files under a folder of the target and begins. */
  async add(files, folder = "") {
    const prefix = folder && !folder.endsWith("/") ? `${folder}/` : folder;
    if (!this.active && this.settled === this.items.length && !this.failed.size) this.clear();
    for (const { path, file } of files) {
      this.items.push({ path: prefix + path, file, state: "waiting", sent: 0, problem: null });
      this.totalBytes += file.size;
    }
    await this.#lookAround();
    this.resume();
  }

  pause() {
    this.paused = true;
    this.#abort.abort();
    this.#changed();
  }

  resume() {
    if (this.paused) this.#abort = new AbortController();
    this.paused = false;
    this.problem = null;
    this.#began = { at: performance.now(), bytes: this.sentBytes };
    while (!this.looking && this.sending.size < PARALLEL && this.#take()) {
      // `#take` starts one each time.
    }
    this.#changed();
  }

  /** Puts what failed back into the queue. */
  retryFailed() {
    const again = [...this.failed];
    this.failed.clear();
    this.items = this.items.filter(({ state }) => state !== "failed");
    this.#next -= again.length;
    for (const item of again) {
      this.#settledBytes -= item.file.size;
      this.items.push(Object.assign(item, { state: "waiting", sent: 0, problem: null }));
    }
    this.resume();
  }

  /** Stops, and forgets what was not sent. What was sent stays. */
  clear() {
    this.#abort.abort();
    this.#abort = new AbortController();
    Object.assign(this, { items: [], done: 0, skipped: 0, totalBytes: 0, paused: false, problem: null, looking: false });
    this.sending = new Set();
    this.failed = new Set();
    this.#settledBytes = this.#next = 0;
    this.#epoch += 1;
    this.#known = null;
    this.#changed();
  }

  /** Learns which files are there, so that a broken upload can simply be dropped again. */
  async #lookAround() {
    if (!this.target.sizes || !this.skipExisting || this.looking) return;
    this.looking = true;
    this.#changed();
    const mine = this.#epoch;
    try {
      this.#known = await this.target.sizes(tops(this.items.slice(this.#next)), this.#abort.signal);
    } catch {
      this.#known = null; // Then everything is sent, which does no harm.
    }
    if (mine === this.#epoch) this.looking = false;
  }

  #take() {
    if (this.paused || this.#next >= this.items.length) return false;
    const item = this.items[this.#next++];
    if (this.skipExisting && this.#known?.get(item.path) === item.file.size) {
      item.state = "skipped";
      this.skipped += 1;
      this.#settledBytes += item.file.size;
      this.#changed();
      return true;
    }
    item.state = "sending";
    this.sending.add(item);
    this.#run(item);
    return true;
  }

  async #run(item) {
    const mine = this.#epoch;
    const { signal } = this.#abort;
    const onProgress = (sent) => {
      item.sent = sent;
      this.#changed();
    };
    try {
      await this.target.send(item, { signal, onProgress, replace: this.replace });
      item.state = "done";
    } catch (problem) {
      if (problem.name !== "AbortError" && concernsAll(problem) && mine === this.#epoch) {
        this.problem = problem;
        this.pause();
      }
      item.state = problem.name === "AbortError" || concernsAll(problem) ? "waiting" : "failed";
      item.problem = problem;
    }
    if (mine !== this.#epoch) return; // It was cleared meanwhile.
    this.sending.delete(item);
    this.#settle(item);
    while (!this.paused && !this.looking && this.sending.size < PARALLEL && this.#take()) {
      // As above.
    }
    if (!this.active) this.dispatchEvent(new Event("settled"));
  }

  #settle(item) {
    if (item.state === "waiting") {
      // It goes first when all goes on.
      this.#next -= 1;
      this.items.splice(this.items.indexOf(item), 1);
      this.items.splice(this.#next, 0, item);
      item.sent = 0;
    } else {
      this.#settledBytes += item.file.size;
      if (item.state === "done") this.done += 1;
      else this.failed.add(item);
    }
    this.#changed();
  }

  #changed() {
    this.#drawing ??= setTimeout(() => {
      this.#drawing = null;
      this.dispatchEvent(new Event("change"));
    }, DRAW_GAP_MILLIS);
  }
}

/** Whether every other file would be refused too: no right, no draft, no room. */
function concernsAll({ status, code }) {
  return [401, 403, 404, 507].includes(status) || /committed/.test(code ?? "");
}

/** The first folders of the paths, or whole paths without one: what must be listed to know them. */
function tops(items) {
  const names = new Set(items.map(({ path }) => (path.includes("/") ? path.slice(0, path.indexOf("/") + 1) : path)));
  return names.size > 50 ? [""] : names;
}
