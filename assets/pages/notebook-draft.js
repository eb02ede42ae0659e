// What the form of a notebook holds, and what the API takes: the two ways between them, without a page.

import { envOf, envRows, list, mountRows, mountsOf, numberOf } from "/pages/job-draft.js";

const MIB = 1024 * 1024;
/** What says "none" of a field that a change would otherwise leave as it is. */
const NONE = { env: {}, datasets: [], tags: [], public: false, keepPackages: false, command: "", user: "", registryUsername: "" };

/**
 * The form as it begins. Fields are texts, as typed; `shutdown` and `idle` are seconds, "never", or
 * "" for what the box has as its usual.
 */
export function emptyNotebook() {
  return {
    name: "", project: "", image: "", machineType: "", git: "", ref: "", gitUsername: "", gitPassword: "", env: [], datasets: [], keepPackages: false,
    shutdown: "", idle: "", public: false, tags: "", command: "", commandList: null, user: "", sharedMemoryMib: "", registryUsername: "", registryPassword: "",
  };
}

/** The form as a notebook's `spec` fills it. Passwords are not in it; left empty, they stay as they were. */
export function draftOfNotebook(spec) {
  const asList = Array.isArray(spec.command);
  return {
    ...emptyNotebook(),
    name: spec.name ?? "",
    project: spec.project ?? "",
    image: spec.image ?? "",
    machineType: spec.machineType ?? "",
    env: envRows(spec.env),
    datasets: mountRows(spec.datasets),
    keepPackages: Boolean(spec.keepPackages),
    shutdown: limitText(spec.shutdownSeconds),
    idle: limitText(spec.idleSeconds),
    public: Boolean(spec.public),
    tags: (spec.tags ?? []).join(", "),
    command: asList ? spec.command.join(" ") : (spec.command ?? ""),
    commandList: asList ? spec.command : null,
    user: spec.user ?? "",
    sharedMemoryMib: spec.sharedMemoryBytes ? String(spec.sharedMemoryBytes / MIB) : "",
    registryUsername: spec.registryUsername ?? "",
    registryPassword: spec.registryPassword ?? "",
  };
}

/** The body of `POST /notebooks`. What was left empty is left out, so that the daemon's defaults hold. */
export function specOfNotebook(draft) {
  const spec = {
    name: draft.name.trim(),
    project: draft.project.trim(),
    image: draft.image.trim(),
    machineType: draft.machineType,
    workspace: draft.git.trim() ? gitOf(draft) : "",
    env: envOf(draft.env),
    datasets: mountsOf(draft.datasets),
    keepPackages: draft.keepPackages || "",
    shutdownSeconds: limitOf(draft.shutdown),
    idleSeconds: limitOf(draft.idle),
    public: draft.public || "",
    tags: list(draft.tags),
    command: draft.commandList && draft.command === draft.commandList.join(" ") ? draft.commandList : draft.command.trim(),
    user: draft.user.trim(),
    sharedMemoryBytes: numberOf(draft.sharedMemoryMib, MIB) ?? "",
    registryUsername: draft.registryUsername.trim(),
    registryPassword: draft.registryPassword,
  };
  return Object.fromEntries(Object.entries(spec).filter(([, value]) => !isEmpty(value)));
}

/** What a form that began as `before` changes: the body of `PATCH /notebooks/ID`. */
export function changesOfNotebook(before, draft) {
  const [old, now] = [specOfNotebook(before), specOfNotebook(draft)];
  const changes = {};
  for (const name of Object.keys({ ...old, ...now })) {
    if (JSON.stringify(old[name]) === JSON.stringify(now[name])) continue;
    if (name in now) changes[name] = now[name];
    else if (name in NONE) changes[name] = NONE[name];
  }
  return changes;
}

function gitOf(draft) {
  const git = { git: draft.git.trim(), ref: draft.ref.trim(), username: draft.gitUsername.trim(), password: draft.gitPassword };
  return Object.fromEntries(Object.entries(git).filter(([, value]) => value !== ""));
}

function limitText(seconds) {
  if (seconds === undefined) return "";
  return seconds === null ? "never" : String(seconds);
}

function limitOf(text) {
  if (text === "never") return null;
  return text === "" ? "" : Number(text);
}

/** A limit of null is said: it is "never". */
function isEmpty(value) {
  if (value === "" || value === undefined) return true;
  return value !== null && typeof value === "object" && Object.keys(value).length === 0;
}
