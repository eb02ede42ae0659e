// The mock's files of notebooks and of the team: a tree in memory behind the routes that the daemon has.
import { createHash } from "node:crypto";

const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const parentOf = (path) => (path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "");
const etagOf = (content) => `"${createHash("sha256").update(content).digest("hex").slice(0, 16)}"`;

export class MockFiles {
  roots = new Map();
  uploads = new Map();
  tasks = new Map();
  pieces = []; // What was sent, piece by piece.
  slowTasks = false; // Whether a copy or a move is still under way when it is answered.
  refusePiece = () => null; // Given the offset: a status, where a piece is to be refused.

  fill(picture) {
    this.put("n4kq0z81", "train.ipynb", Buffer.from(JSON.stringify(notebookFile(picture))), 960);
    this.put("n4kq0z81", "README.md", Buffer.from(README), 9000);
    this.put("n4kq0z81", "results.csv", Buffer.from(`epoch,loss,accuracy\n${Array.from({ length: 40 }, (_, i) => `${i},${(2 / (i + 1)).toFixed(4)},${(0.98 - 0.9 / (i + 1)).toFixed(4)}`).join("\n")}\n`), 1200);
    this.put("n4kq0z81", "train.py", Buffer.from("import torch\n\nfor epoch in range(20):\n    print(epoch)\n"), 8000);
    this.put("n4kq0z81", "loss.png", picture, 1100);
    this.put("n4kq0z81", "data/labels.txt", Buffer.from("zero\none\ntwo\n"), 40_000);
    this.put("n4kq0z81", "data/raw/part-0.bin", Buffer.alloc(5000), 40_000);
    this.put("n4kq0z81", "checkpoints/epoch-19.pt", Buffer.alloc(90_000, 7), 1000);
    this.put("nstopped", "lesson-1.ipynb", Buffer.from(JSON.stringify(notebookFile(picture))), 90_000);
    this.put("npublic0", "attention.ipynb", Buffer.from(JSON.stringify(notebookFile(picture))), 90_000);
    this.put("storage", "models/bert/config.json", Buffer.from('{"layers": 12}\n'), 200_000);
    this.put("storage", "notes.txt", Buffer.from("What all of us should know.\n"), 3000);
  }

  root(id) {
    if (!this.roots.has(id)) this.roots.set(id, new Map());
    return this.roots.get(id);
  }

  put(root, path, content, age = 0) {
    const tree = this.root(root);
    for (let folder = parentOf(path); folder; folder = parentOf(folder)) if (!tree.has(folder)) tree.set(folder, { kind: "directory", at: ago(age) });
    tree.set(path, { kind: "file", content, at: ago(age) });
    return this.entry(root, path);
  }

  directory(root, path) {
    this.put(root, `${path}/.`, Buffer.alloc(0));
    this.root(root).delete(`${path}/.`);
    return this.entry(root, path);
  }

  entry(root, path) {
    const found = this.root(root).get(path);
    if (!found) return undefined;
    const facts = { path, name: path.slice(path.lastIndexOf("/") + 1), kind: found.kind, bytes: found.content?.length ?? 0, modifiedAt: found.at };
    return found.kind === "file" ? { ...facts, executable: false, etag: etagOf(found.content) } : facts;
  }

  list(root, folder) {
    const inside = [...this.root(root).keys()].filter((path) => parentOf(path) === folder).map((path) => this.entry(root, path));
    return inside.sort((a, b) => Number(b.kind === "directory") - Number(a.kind === "directory") || (a.name < b.name ? -1 : 1));
  }

  remove(root, path) {
    const tree = this.root(root);
    for (const other of [...tree.keys()]) if (other === path || other.startsWith(`${path}/`)) tree.delete(other);
  }

  carry(kind, root, path, to) {
    const tree = this.root(root);
    const all = [...tree].filter(([other]) => other === path || other.startsWith(`${path}/`));
    for (const [other, found] of all) tree.set(to + other.slice(path.length), { ...found });
    for (let folder = parentOf(to); folder; folder = parentOf(folder)) if (!tree.has(folder)) tree.set(folder, { kind: "directory", at: ago(0) });
    if (kind === "move") this.remove(root, path);
    const task = { id: `ft${this.tasks.size}`, kind, state: this.slowTasks ? "running" : "done", from: { root, path }, to: { root, path: to }, files: all.length, bytes: 4096, skipped: 0, startedAt: ago(0) };
    this.tasks.set(task.id, task);
    return task;
  }
}

/** The routes of files, for the mock's table. */
export function fileRoutes({ json, none, known, problem }) {
  const at = (tail) => new RegExp(`^/files/([^/]+)/${tail}$`);
  return [
    ["GET", at("list"), ({ box, response, args, query }) => json(response, 200, { items: box.files.list(args[0], query.get("path") ?? ""), next: null })],
    ["GET", at("entry"), ({ box, response, args, query }) => known(response, box.files.entry(args[0], query.get("path")))],
    ["GET", at("content/(.+)"), content],
    ["PUT", at("content/(.+)"), put],
    ["DELETE", at("content/(.+)"), ({ box, response, args }) => none(response, box.files.remove(args[0], args[1]))],
    ["POST", at("directories"), ({ box, response, args, body }) => (box.files.entry(args[0], JSON.parse(body).path) ? exists(response, JSON.parse(body).path) : json(response, 201, box.files.directory(args[0], JSON.parse(body).path)))],
    ["POST", at("(move|copy)"), carry],
    ["GET", at("archive"), ({ response }) => response.writeHead(200, { "Content-Type": "application/zip", "Content-Disposition": 'attachment; filename="files.zip"' }).end("PK")],
    ["GET", at("uploads"), ({ box, response, args }) => json(response, 200, { items: [...box.files.uploads.values()].filter(({ root }) => root === args[0]).map(uploadView) })],
    ["POST", at("uploads"), begin],
    ["GET", at("uploads/([^/]+)"), ({ box, response, args }) => known(response, box.files.uploads.has(args[1]) && uploadView(box.files.uploads.get(args[1])))],
    ["PATCH", at("uploads/([^/]+)"), piece],
    ["POST", at("uploads/([^/]+)/finish"), finish],
    ["DELETE", at("uploads/([^/]+)"), ({ box, response, args }) => none(response, box.files.uploads.delete(args[1]))],
    ["GET", /^\/file-tasks\/([^/]+)$/, ({ box, response, args }) => known(response, box.files.tasks.get(args[0]))],
    ["DELETE", /^\/file-tasks\/([^/]+)$/, ({ box, response, args }) => none(response, (box.files.tasks.get(args[0]).state = "cancelled"))],
  ];

  function exists(response, path) {
    return problem(response, 412, "file_exists", `There is something called ${path} already.`, "path");
  }

  function content({ box, request, response, args }) {
    const found = box.files.root(args[0]).get(args[1]);
    if (found?.kind !== "file") return problem(response, 404, "file_not_found", `There is no file ${args[1]}.`);
    const head = { "Content-Type": /\.png$/.test(args[1]) ? "image/png" : "application/octet-stream", "X-Content-Type-Options": "nosniff", ETag: etagOf(found.content) };
    const asked = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (!asked) return response.writeHead(200, head).end(found.content);
    const part = found.content.subarray(Number(asked[1]), Number(asked[2]) + 1);
    return response.writeHead(206, { ...head, "Content-Range": `bytes ${asked[1]}-${Number(asked[1]) + part.length - 1}/${found.content.length}` }).end(part);
  }

  function put({ box, request, response, args, raw }) {
    const before = box.files.entry(args[0], args[1]);
    if (before && request.headers["if-none-match"] === "*") return exists(response, args[1]);
    if (request.headers["if-match"] && request.headers["if-match"] !== before?.etag) return problem(response, 412, "file_changed", `${args[1]} was changed meanwhile.`);
    return json(response, before ? 200 : 201, box.files.put(args[0], args[1], raw));
  }

  function carry({ box, response, args, body }) {
    const { path, to } = JSON.parse(body);
    if (box.files.entry(args[0], to)) return problem(response, 409, "file_exists", `There is something called ${to} already.`, "to");
    const task = box.files.carry(args[1], args[0], path, to);
    return json(response, task.state === "done" ? 200 : 202, task);
  }

  function begin({ box, response, args, body }) {
    const { path, bytes, overwrite } = JSON.parse(body);
    const upload = { id: `fu${box.files.uploads.size + 1}`, root: args[0], path, bytes, overwrite, parts: [], offset: 0 };
    box.files.uploads.set(upload.id, upload);
    return json(response, 201, uploadView(upload));
  }

  function piece({ box, request, response, args, raw }) {
    const upload = box.files.uploads.get(args[1]);
    const offset = Number(request.headers["upload-offset"]);
    if (offset !== upload.offset) return problem(response, 409, "wrong_offset", `${upload.offset} bytes are there.`);
    const refused = box.files.refusePiece(offset);
    if (refused) return problem(response, refused, "refused", "This piece could not be written.");
    box.files.pieces.push([offset, raw.length]);
    upload.offset += raw.length;
    return json(response, 200, uploadView(upload));
  }

  function finish({ box, response, args }) {
    const upload = box.files.uploads.get(args[1]);
    if (!upload.overwrite && box.files.entry(args[0], upload.path)) return exists(response, upload.path);
    box.files.uploads.delete(args[1]);
    return json(response, 201, box.files.put(args[0], upload.path, Buffer.alloc(upload.bytes)));
  }
}

const uploadView = ({ id, path, bytes, offset }) => ({ id, path, bytes, offset, expiresAt: ago(-600_000) });

const README = `# Digits

A small network on **handwritten digits**. See [the course](https://example.org/course).

- load the data
- train for \`EPOCHS\` epochs
  - with early stopping

| epoch | loss |
|---|---|
| 1 | 0.52 |
| 2 | 0.31 |

\`\`\`python
print("hello")
\`\`\`

<script>window.owned = true</script>
`;

/** A notebook with every kind of output, some of which would do harm if they were believed. */
function notebookFile(picture) {
  const output = (data) => ({ output_type: "display_data", data, metadata: {} });
  const code = (number, source, outputs) => ({ cell_type: "code", execution_count: number, source, outputs, metadata: {} });
  return {
    nbformat: 4, nbformat_minor: 5, metadata: { kernelspec: { display_name: "Python 3", name: "python3" } },
    cells: [
      { cell_type: "markdown", source: ["# Train a network\n", "\n", "It reads *digits* and learns to tell them apart.\n", "<img src=x onerror=\"window.owned = true\">"] },
      code(1, ["import json\n", "from sklearn.datasets import load_digits\n", "data = load_digits()\n", "data.data.shape"], [{ output_type: "execute_result", execution_count: 1, data: { "text/plain": "(1797, 64)" } }]),
      code(2, "for epoch in range(3):\n    print(f'epoch {epoch} loss {1 / (epoch + 1):.3f}')", [{ output_type: "stream", name: "stdout", text: ["epoch 0 loss 1.000\n", "epoch 1 loss 0.500\n", "epoch 2 loss 0.333\n"] }, { output_type: "stream", name: "stderr", text: "UserWarning: this is slow\n" }]),
      code(3, "plot(losses)", [output({ "image/png": picture.toString("base64"), "text/plain": "<Figure size 640x480 with 1 Axes>" })]),
      code(4, "show(widget)", [output({ "text/html": "<script>window.owned = true</script><b>bold</b>" }), output({ "application/javascript": "window.owned = true" }), output({ "image/svg+xml": "<svg onload='window.owned = true'></svg>" })]),
      code(5, "frame.head()", [output({ "text/html": "<table onclick='window.owned = true'></table>", "text/plain": "   epoch  loss\n0      0   1.0" })]),
      code(6, "1 / 0", [{ output_type: "error", ename: "ZeroDivisionError", evalue: "division by zero", traceback: ["\u001b[31mZeroDivisionError\u001b[39m  Traceback (most recent call last)", "\u001b[36mCell\u001b[39m\u001b[36m \u001b[39m\u001b[32mIn[6]\u001b[39m, line 1", "\u001b[31mZeroDivisionError\u001b[39m: division by zero"] }]),
      code(null, "never_run()", []),
    ],
  };
}
