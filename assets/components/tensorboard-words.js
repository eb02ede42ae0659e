// What a TensorBoard shows and where it stands, in words. No page, no requests.
import { isLive, queueNote, sentence } from "/components/notebook-words.js";

/** What can be shown, in the order in which it is offered. */
export const MEMBER_KINDS = {
  job: { icon: "layers", name: "Jobs", where: "its artifacts" },
  experiment: { icon: "rotate-ccw", name: "Experiments", where: "the artifacts of all its runs, later ones too" },
  notebook: { icon: "notebook-text", name: "Notebooks", where: "a folder of its files" },
  dataset: { icon: "database", name: "Datasets", where: "one version" },
};

/** What the daemon says of members without naming a field. */
const MEMBER_CODES = ["already_member", "name_taken", "job_not_found", "experiment_not_found", "notebook_not_found", "dataset_not_found", "version_not_found"];

/** A choice `{ kind, id, path, ref, name }` as the API takes it; `ref` is a dataset's `NAME:VERSION`. */
export function memberOf({ kind, id, path = "", ref, name = "" }) {
  const named = name.trim() ? { name: name.trim() } : {};
  if (kind === "dataset") return { dataset: ref, ...named };
  if (kind !== "notebook") return { [kind]: id, ...named };
  const folder = path.replace(/^\/+|\/+$/g, "");
  return { notebook: id, ...(folder ? { path: folder } : {}), ...named };
}

/**
 * Which of the members a problem is of: `{ at, part }`, the row and the member's field, where it says so;
 * `{ at: null }` where it is of any of them; null where it is of something else.
 */
export function memberProblem(problem) {
  const [, at, , part] = /^members(?:\[(\d+)\](\.(\w+))?)?$/.exec(problem?.field ?? "") ?? [];
  if (at !== undefined) return { at: Number(at), part: part ?? null };
  if (problem?.field === "members" || MEMBER_CODES.includes(problem?.code)) return { at: null, part: null };
  return null;
}

/** What a choice is called in there, unless it is given a name. */
export function usualName({ title, path }) {
  return path ? `${title}-${path.replaceAll("/", "-")}` : title;
}

/** The page of what a member shows, or null where that is gone. */
export function memberAddress({ kind, id, path, version, gone }) {
  if (gone) return null;
  if (kind === "job") return `/jobs/${id}/artifacts`;
  if (kind === "experiment") return `/experiments/${id}`;
  if (kind === "dataset") return `/datasets/${id}/versions/${version}`;
  return `/notebooks/${id}${path ? `?path=${encodeURIComponent(path)}` : ""}`;
}

/** Which part of it is shown, in short. */
export function memberPart({ kind, id, path, version, ref }) {
  if (kind === "notebook") return `/notebooks${path ? `/${path}` : ""}`;
  if (kind === "dataset") return !ref || ref.endsWith(`:${version}`) ? version : `${ref} → ${version}`;
  return id;
}

/** What is worth saying beside the state: { tone, icon, title, text, log, settings }, or null; the last two say where to go on reading. */
export function boardNote(board) {
  if (board.contact === "unknown" && isLive(board)) {
    return { tone: "waiting", icon: "unplug", title: "The engine does not answer", text: "TensorBoard goes on if its container does; its state is what was last seen." };
  }
  if (board.phase === "queued") return queueNote(board);
  if (board.problem) {
    const title = isLive(board) ? "It goes on with what it shows now, and cannot begin anew" : "It cannot be started as it is set";
    return { tone: "bad", icon: "triangle-alert", title, text: sentence(board.problem), settings: true };
  }
  if (board.state === "failed" || board.state === "error") {
    return { tone: "bad", icon: "circle-alert", title: sentence(board.message) || "It ended badly", text: "What it shows stays where it is.", log: Boolean(board.session) };
  }
  if (board.message && !isLive(board)) return { tone: "quiet", icon: "clock", title: sentence(board.message), text: "" };
  return null;
}
