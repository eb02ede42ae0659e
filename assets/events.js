// The only EventSource: the stream of every change on the box, and the follow of one job's log.
//
// Pages say which kinds they show and fetch again when one changes. A browser keeps six connections
// to one host, so a tab that is hidden for a while gives its streams back and catches up when seen.

import { addresses } from "/api.js";

const KINDS = ["job", "experiment", "notebook", "tensorboard", "project", "secret", "key", "gpu", "queue", "dataset", "version", "import", "storage_provider"];
const HIDDEN_GRACE_MILLIS = 15_000;
const FIRST_RETRY_MILLIS = 1_000;
const LAST_RETRY_MILLIS = 15_000;

class Stream {
  #source = null;
  #timer = null;
  #retryMillis = FIRST_RETRY_MILLIS;
  #wanted = false;

  /** `address()` is asked again for each connection; `bind(source)` adds the listeners. */
  constructor(address, bind, onState) {
    this.address = address;
    this.bind = bind;
    this.onState = onState;
  }

  open() {
    if (this.#wanted) return;
    this.#wanted = true;
    document.addEventListener("visibilitychange", this.#visibility);
    window.addEventListener("pagehide", this.#left);
    window.addEventListener("pageshow", this.#visibility);
    this.#connect();
  }

  close() {
    this.#wanted = false;
    document.removeEventListener("visibilitychange", this.#visibility);
    window.removeEventListener("pagehide", this.#left);
    window.removeEventListener("pageshow", this.#visibility);
    clearTimeout(this.hiding);
    this.#drop();
  }

  #connect() {
    this.#drop();
    const source = new EventSource(this.address());
    this.#source = source;
    source.onopen = () => {
      this.#retryMillis = FIRST_RETRY_MILLIS;
      this.onState("open");
    };
    source.onerror = () => {
      this.onState("broken");
      // The browser retries a broken connection but gives up on an error status (a restart behind a proxy, a 503).
      if (source.readyState !== EventSource.CLOSED) return;
      this.onState("refused");
      this.#timer = setTimeout(() => this.#connect(), this.#retryMillis);
      this.#retryMillis = Math.min(this.#retryMillis * 2, LAST_RETRY_MILLIS);
    };
    this.bind(source);
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  // A page that the browser keeps for going back would keep its connections too.
  #left = () => this.#drop();

  #visibility = () => {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.#drop(), HIDDEN_GRACE_MILLIS);
    else if (!this.#source) this.#connect();
  };
}

/** Emits "state" (open, broken, closed) and "refused" when the daemon answered with an error status. */
class Events extends EventTarget {
  #subscriptions = new Set();
  #everOpen = false;
  state = "closed";

  #stream = new Stream(
    addresses.events,
    (source) => KINDS.forEach((kind) => source.addEventListener(kind, (event) => this.#deliver(kind, event))),
    (state) => this.#changed(state),
  );

  open() {
    this.#stream.open();
  }

  close() {
    this.#stream.close();
    this.#everOpen = false;
    this.#changed("closed");
  }

  /**
   * Calls `listener(change)` for each change of these kinds, and once with `{ kind: "missed" }` when
   * the stream comes back after a break. Returns the function that ends it.
   */
  watch(kinds, listener) {
    const subscription = { kinds: new Set(kinds), listener };
    this.#subscriptions.add(subscription);
    return () => this.#subscriptions.delete(subscription);
  }

  #deliver(kind, event) {
    const change = { kind, ...JSON.parse(event.data) };
    for (const { kinds, listener } of this.#subscriptions) if (kinds.has(kind)) listener(change);
  }

  #changed(state) {
    if (state === "refused") return void this.dispatchEvent(new Event("refused"));
    const before = this.state;
    this.state = state;
    if (state === "open" && this.#everOpen && before !== "open") {
      for (const { listener } of this.#subscriptions) listener({ kind: "missed" });
    }
    if (state === "open") this.#everOpen = true;
    if (state !== before) this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

export const events = new Events();

/**
 * Follows a job's log from a line on. `onLine(row)` gets each row once and in order, `onEnd()` is
 * called when the run has ended and everything was sent. Returns the function that stops it.
 */
export function followLog(jobId, { start, attempt, onLine, onEnd, onState }) {
  let next = start;
  const stream = new Stream(
    () => addresses.logStream(jobId, next, attempt),
    (source) => {
      source.addEventListener("line", (event) => {
        const row = JSON.parse(event.data);
        next = Math.max(next, row.line + 1);
        onLine(row);
      });
      source.addEventListener("end", () => {
        stream.close();
        onEnd();
      });
    },
    (state) => onState?.(state),
  );
  stream.open();
  return () => stream.close();
}
