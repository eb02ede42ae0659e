// Where a file browser browses: the files of a notebook, or those that a team shares.
import { addresses, api } from "/api.js";

/** The files of a notebook: what its sessions see in /notebooks. */
export function notebookFiles({ id, name, project, ready, phase }) {
  const shown = (path) => ({ kind: "notebook", id, path, title: path ? `${name}/${path}` : name, project: project.id });
  return root(id, "/notebooks", { notebook: ready && phase === "running" ? id : null, shown, none: "Nothing is in /notebooks yet. Drop files here, or start the notebook and work in it." });
}

/** The files that the team's jobs and notebooks share: what they see in /storage. */
export function teamFiles() {
  return root("storage", "/storage", { notebook: null, shown: null, none: "Jobs and notebooks of the team keep here what they share. Drop files here, or write to /storage from any of them." });
}

/**
 * `notebook` is one in which a file can be opened now, or null; `shown(folder)` is how a TensorBoard shows
 * a folder, or null where none can; `none` is said of an empty root.
 */
function root(id, label, facts) {
  return {
    id,
    label,
    ...facts,
    source: {
      key: id,
      address: (entry) => addresses.content(id, entry),
      range: (entry, start, end, signal) => api.entryRange(id, entry, start, end, signal),
    },
  };
}

/** "a/b" and "c" → "a/b/c". */
export function join(folder, name) {
  return folder ? `${folder}/${name}` : name;
}

export function parentOf(path) {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
}

/** A name beside the present ones: "train.py" → "train copy.py", "train copy 2.py". */
export function copyName(name, taken) {
  const [, stem, extension] = /^(.+?)(\.[^.]+)?$/.exec(name);
  for (let i = 1; ; i += 1) {
    const candidate = `${stem} copy${i > 1 ? ` ${i}` : ""}${extension ?? ""}`;
    if (!taken.includes(candidate)) return candidate;
  }
}
