// Terminals of the mock: a shell that knows little, over a real websocket.
import { createHash } from "node:crypto";

const PROMPT = "\x1b[32mroot@js8\x1b[0m:\x1b[34m/home/paperspace\x1b[0m# ";
const COLOURS = `\x1b[1mbold\x1b[0m ${[31, 32, 33, 34, 35, 36].map((n) => `\x1b[${n}m${n}\x1b[0m`).join(" ")} \x1b[38;5;208mpalette\x1b[0m \x1b[38;2;200;90;160mtrue colour\x1b[0m \x1b[7mreverse\x1b[0m\r\n`;

/** All shells of the mock; a test may cut their sockets or end them. */
export class Terminals {
  open = new Map();
  count = 0;

  list(workload) {
    return [...this.open.values()].filter((terminal) => terminal.workload === workload).map((terminal) => ({ id: terminal.id, own: terminal.own, attached: Boolean(terminal.socket), cols: 80, rows: 24 }));
  }

  make(workload, own = true) {
    const id = `tm${String(++this.count).padStart(12, "0")}`;
    this.open.set(id, { id, workload, own, shown: PROMPT, line: "", size: [24, 80], socket: null });
    return { id };
  }

  close(id) {
    const terminal = this.open.get(id);
    if (!terminal) return false;
    this.#end(terminal, { type: "ended", why: "closed", code: null });
    return true;
  }

  /** Cuts every socket without a word, as a network does. */
  cut() {
    for (const { socket } of this.open.values()) socket?.destroy();
  }

  #end(terminal, word) {
    this.open.delete(terminal.id);
    if (!terminal.socket) return;
    send(terminal.socket, 1, JSON.stringify(word));
    send(terminal.socket, 8, closing(1000, "the terminal is closed"));
  }

  attach(request, socket, id) {
    const terminal = this.open.get(id);
    const offers = (request.headers["sec-websocket-protocol"] ?? "").split(/,\s*/);
    if (!terminal || !offers.includes("gradientd.terminal") || !offers.includes("gradientd.session.gdp_mock")) return socket.end("HTTP/1.1 404 Not Found\r\n\r\n");
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: gradientd.terminal\r\n\r\n`);
    if (terminal.socket) {
      send(terminal.socket, 1, JSON.stringify({ type: "replaced" }));
      send(terminal.socket, 8, closing(4409, "attached from somewhere else"));
    }
    terminal.socket = socket;
    send(socket, 1, JSON.stringify({ type: "attached", replay: Buffer.byteLength(terminal.shown), cols: 80, rows: 24 }));
    if (terminal.shown) send(socket, 2, terminal.shown);
    let held = Buffer.alloc(0);
    socket.on("data", (piece) => {
      held = Buffer.concat([held, piece]);
      for (let frame; (frame = take(held)); held = frame.rest) {
        if (frame.kind === 8) return socket.end();
        if (frame.kind === 1) this.#word(terminal, JSON.parse(frame.data.toString()));
        if (frame.kind === 2) this.#typed(terminal, frame.data.toString());
      }
    });
    socket.on("error", () => {});
    socket.on("close", () => terminal.socket === socket && (terminal.socket = null));
  }

  #word(terminal, { type, cols, rows }) {
    if (type === "resize") terminal.size = [rows, cols];
  }

  #typed(terminal, text) {
    for (const char of text) {
      if (char !== "\r") {
        terminal.line += char;
        this.#show(terminal, char);
        continue;
      }
      const [word, ...rest] = terminal.line.split(" ");
      terminal.line = "";
      if (word === "exit") return this.#end(terminal, { type: "ended", why: "exited", code: Number(rest[0] ?? 0) });
      const said = { echo: `${rest.join(" ")}\r\n`, stty: `${terminal.size.join(" ")}\r\n`, colours: COLOURS, ask: "\x1b[6n", "": "" }[word] ?? `sh: ${word}: not found\r\n`;
      this.#show(terminal, `\r\n${said}${PROMPT}`);
    }
  }

  #show(terminal, text) {
    terminal.shown += text;
    if (terminal.socket) send(terminal.socket, 2, text);
  }
}

export const terminalRoutes = ({ json, none, problem }) => [
  ["GET", /^\/workloads\/([^/]+)\/terminals$/, ({ box, response, args }) => json(response, 200, { items: box.terminals.list(args[0]) })],
  ["POST", /^\/workloads\/([^/]+)\/terminals$/, ({ box, response, args }) => (box.terminals.list(args[0]).length < 16 ? json(response, 201, box.terminals.make(args[0])) : problem(response, 429, "too_many_terminals", `16 terminals are open in ${args[0]}, which is the most: close some`))],
  ["DELETE", /^\/workloads\/[^/]+\/terminals\/([^/]+)$/, ({ box, response, args }) => none(response, box.terminals.close(args[0]))],
];

function closing(code, reason) {
  const body = Buffer.alloc(2 + Buffer.byteLength(reason));
  body.writeUInt16BE(code);
  body.write(reason, 2);
  return body;
}

function send(socket, kind, data) {
  const body = Buffer.from(data);
  const head = body.length < 126 ? Buffer.from([0x80 | kind, body.length]) : Buffer.from([0x80 | kind, 126, body.length >> 8, body.length & 255]);
  socket.write(Buffer.concat([head, body]));
}

/** The first frame of what was read, unmasked; nothing while it is not whole. */
function take(held) {
  if (held.length < 2) return null;
  let [length, at] = [held[1] & 127, 2];
  if (length === 126) [length, at] = [held.length < 4 ? Infinity : held.readUInt16BE(2), 4];
  if (length === 127) [length, at] = [held.length < 10 ? Infinity : Number(held.readBigUInt64BE(2)), 10];
  if (held.length < at + 4 + length) return null;
  const mask = held.subarray(at, at + 4);
  const data = Buffer.from(held.subarray(at + 4, at + 4 + length)).map((byte, i) => byte ^ mask[i % 4]);
  return { kind: held[0] & 15, data, rest: held.subarray(at + 4 + length) };
}
