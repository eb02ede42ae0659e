// The socket of one terminal: what is shown and typed, and how it comes back after it was cut.
import { api } from "/api.js";

const FIRST_RETRY_MILLIS = 500;
const LAST_RETRY_MILLIS = 15_000;
/** How much is drawn before the box is told: it sends no more than four times as much ahead. */
const TOLD_BYTES = 64 << 10;
const REPLACED = 4409;
const SIGNED_OUT = 4401;
/** Codes by which the box says that trying again is of no use. */
const FINAL = new Set([1008, 1009, REPLACED]);

/**
 * Tells by events: `attached` (detail: bytes that were shown before), `shown` (detail: bytes), `state`. Its
 * `state` is `connecting`, `open`, `waiting` (cut, and to be tried again), `ended`, `replaced` or `refused`.
 */
export class TerminalLink extends EventTarget {
  state = "connecting";
  /** How it ended, as the box tells it. */
  end = null;
  #socket = null;
  #retryMillis = FIRST_RETRY_MILLIS;
  #timer = null;
  #drawn = 0;
  #told = 0;

  constructor(workload, terminal) {
    super();
    Object.assign(this, { workload, terminal });
  }

  /** Connects, also when another browser has taken it over. */
  open() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#become(this.state === "waiting" ? "waiting" : "connecting");
    const socket = api.attachTerminal(this.workload, this.terminal);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#word(JSON.parse(data)) : this.#emit("shown", new Uint8Array(data)));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#socket = socket;
  }

  /** Leaves the terminal, which runs on. */
  close() {
    clearTimeout(this.#timer);
    this.#drop();
  }

  type(bytes) {
    if (this.state === "open") this.#socket.send(bytes);
  }

  resize({ cols, rows }) {
    this.#say({ type: "resize", cols, rows });
  }

  /** Notes that so many more bytes were drawn. */
  drew(bytes) {
    this.#drawn += bytes;
    if (this.#drawn - this.#told < TOLD_BYTES) return;
    this.#told = this.#drawn;
    this.#say({ type: "drawn", bytes: this.#drawn });
  }

  /** Tries again at once. */
  retry() {
    this.#retryMillis = FIRST_RETRY_MILLIS;
    this.open();
  }

  #say(word) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(word));
  }

  #word(word) {
    if (word.type === "attached") {
      this.#retryMillis = FIRST_RETRY_MILLIS;
      this.#drawn = this.#told = 0;
      this.#say({ type: "drawn", bytes: 0 });
      this.#become("open");
      this.#emit("attached", word.replay);
    }
    if (word.type === "ended") {
      this.end = word;
      this.#become("ended");
    }
    if (word.type === "replaced") this.#become("replaced");
  }

  #closed(code, reason) {
    this.#socket = null;
    if (this.state === "ended" || this.state === "replaced") return;
    if (code === SIGNED_OUT) api.checkSession().catch(() => {});
    if (FINAL.has(code)) {
      this.end = { why: reason };
      this.#become("refused");
      return;
    }
    this.#become("waiting");
    this.#timer = setTimeout(() => this.#again(), this.#retryMillis);
    this.#retryMillis = Math.min(this.#retryMillis * 2, LAST_RETRY_MILLIS);
  }

  /** A socket that is refused does not say why, so it is asked first whether there is still a terminal. */
  async #again() {
    try {
      const { items } = await api.terminals(this.workload);
      if (items.some(({ id, own }) => own && id === this.terminal)) return this.open();
      this.end = { why: "gone" };
      this.#become("ended");
    } catch (problem) {
      if (problem.status === 404 || problem.status === 409) {
        this.end = { why: "gone" };
        this.#become("ended");
      } else this.#closed(0, "");
    }
  }

  #drop() {
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#emit("state", state);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
