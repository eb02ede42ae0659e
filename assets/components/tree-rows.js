// The files of a version that the browser holds: directories fetched as they are opened, page by page.
//
// The API pages a directory by cursor, so rows grow downwards: the last row of a directory with more
// to come says so, and the view asks for the next page when it comes near it. A directory of a million
// files thus costs what is scrolled through.
import { api } from "/api.js";

const PAGE = 500;

/** Emits "change" when rows or their states change. */
export class TreeRows extends EventTarget {
  rows = []; // { node } for an entry; { more: node } after a directory with more to come.
  root;
  #abort = new AbortController();

  /** `beginsWith` shows only paths that begin with it, wherever they are. */
  constructor(dataset, version, beginsWith = "") {
    super();
    Object.assign(this, { dataset, version });
    this.root = directory({ path: "", depth: -1, prefix: beginsWith });
    this.root.open = true;
  }

  load() {
    return this.more(this.root);
  }

  close() {
    this.#abort.abort();
  }

  /** Opens or closes a directory; the first opening fetches its first page. */
  async toggle(node, open = !node.open) {
    node.open = open;
    this.#flatten();
    if (open && !node.begun) await this.more(node);
  }

  /** Fetches the next page of a directory, unless it is on its way. */
  async more(node) {
    if (node.loading || (node.begun && !node.next)) return;
    node.loading = true;
    node.problem = null;
    this.#flatten();
    try {
      const page = await api.files(this.dataset, this.version, { prefix: node.prefixBase64 ? null : node.prefix, prefixBase64: node.prefixBase64, limit: PAGE, cursor: node.next }, { signal: this.#abort.signal });
      for (const item of page.items) node.children.push(entry(item, node));
      node.next = page.next;
      node.begun = true;
    } catch (problem) {
      if (problem.name === "AbortError") return;
      node.problem = problem;
    }
    node.loading = false;
    this.#flatten();
  }

  /** Opens the directories on the way to a path, as far as their first pages know them. */
  async reveal(path) {
    const parts = path.split("/").slice(0, -1);
    let at = this.root;
    for (let i = 0; i < parts.length; i += 1) {
      const wanted = parts.slice(0, i + 1).join("/");
      at = at.children.find((child) => child.kind === "directory" && child.path === wanted);
      if (!at) return;
      await this.toggle(at, true);
    }
  }

  /** Forgets everything and fetches what was open again, after files came or went. */
  async refresh() {
    const open = [];
    const collect = (node) => node.children.forEach((child) => child.open && (open.push(child.path), collect(child)));
    collect(this.root);
    const fresh = directory({ path: "", depth: -1, prefix: this.root.prefix, open: true });
    await this.more(fresh); // The old rows stay until the new ones are there.
    if (fresh.problem && this.root.begun) return;
    for (const path of open) await this.#reopen(fresh, path);
    this.root = fresh;
    this.#flatten();
  }

  /** Fetches a directory that was open, unless it is gone. */
  async #reopen(within, path) {
    const child = within.children.find((node) => node.path === path || (node.open && path.startsWith(`${node.path}/`)));
    if (!child) return;
    if (child.path !== path) return this.#reopen(child, path);
    child.open = true;
    await this.more(child);
  }

  #flatten() {
    const rows = [];
    const add = (node) => {
      for (const child of node.children) {
        rows.push({ node: child });
        if (child.open) add(child);
      }
      if (node.next || node.loading || node.problem) rows.push({ more: node });
    };
    add(this.root);
    this.rows = rows;
    this.dispatchEvent(new Event("change"));
  }
}

function entry(item, parent) {
  const path = item.path.replace(/\/$/, "");
  const node = { ...item, path, name: path.slice(path.lastIndexOf("/") + 1), depth: parent.depth + 1 };
  // With a filter the root holds paths from anywhere: they are shown whole.
  if (parent.depth === -1 && parent.prefix) node.name = path;
  if (item.kind !== "directory") return node;
  // A name that is not UTF-8 is asked for by its bytes.
  const prefixBase64 = item.pathBase64 ? btoa(`${atob(item.pathBase64).replace(/\/$/, "")}/`) : null;
  return directory({ ...node, prefix: `${path}/`, prefixBase64 });
}

function directory(facts) {
  return { kind: "directory", open: false, begun: false, loading: false, problem: null, next: null, children: [], ...facts };
}
