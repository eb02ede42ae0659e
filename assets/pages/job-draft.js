// What the form holds, and what the API takes: the two ways between them, without a page.

const MIB = 1024 * 1024;

/** The form as it begins. Fields are texts, as typed; `env` is rows of { name, value, secret }, `inputs` and `outputs` rows of { ref, name }. */
export function emptyDraft() {
  return {
    image: "", command: "", commandList: null, name: "", project: "", machineType: "", workspace: "none",
    git: "", ref: "", gitUsername: "", gitPassword: "", uploadId: "", file: null, dockerfile: "",
    env: [], inputs: [], outputs: [], workingDirectory: "", ports: "", timeLimitMinutes: "", retries: "", backoffSeconds: null, priority: "",
    tags: "", sharedMemoryMib: "", user: "", registryUsername: "", registryPassword: "", cloneOf: null, earlier: null, advanced: false,
  };
}

/** What says "none" of a field that a clone would take over from the earlier job. */
const NONE = { env: {}, datasets: [], outputs: [], ports: [], tags: [], workspace: null, priority: 0, retries: { limit: 0 } };

/**
 * The body of `POST /jobs`. What was left empty is left out, so that the daemon's defaults hold. A
 * clone names the earlier job and what differs: the daemon takes over the rest, passwords included.
 */
export function specFromDraft(draft) {
  const spec = wholeSpec(draft);
  if (!draft.cloneOf) return spec;
  const earlier = wholeSpec(draft.earlier);
  const changes = { cloneOf: draft.cloneOf };
  for (const name of Object.keys({ ...earlier, ...spec })) {
    if (JSON.stringify(spec[name]) === JSON.stringify(earlier[name])) continue;
    if (name in spec) changes[name] = spec[name];
    else if (name in NONE) changes[name] = NONE[name];
    else return spec; // It cannot be said that a clone lacks this, so the job is asked for anew.
  }
  return changes;
}

function wholeSpec(draft) {
  const spec = {
    image: draft.image.trim(),
    command: commandOf(draft),
    name: draft.name.trim(),
    project: draft.project.trim(),
    machineType: draft.machineType,
    env: envOf(draft.env),
    datasets: mountsOf(draft.inputs),
    outputs: mountsOf(draft.outputs),
    workspace: workspaceOf(draft),
    build: draft.workspace !== "none" && draft.dockerfile.trim() ? { dockerfile: draft.dockerfile.trim() } : null,
    workingDirectory: draft.workingDirectory.trim(),
    ports: list(draft.ports).map(portOf),
    timeLimitSeconds: numberOf(draft.timeLimitMinutes, 60),
    retries: retriesOf(draft),
    priority: numberOf(draft.priority),
    tags: list(draft.tags),
    sharedMemoryBytes: numberOf(draft.sharedMemoryMib, MIB),
    user: draft.user.trim(),
    registryUsername: draft.registryUsername.trim(),
    registryPassword: draft.registryPassword,
  };
  return Object.fromEntries(Object.entries(spec).filter(([, value]) => !isLeftOut(value)));
}

/** The form as a job's spec fills it. Passwords are not in a spec; left empty, they stay as they were. */
export function draftFromSpec(job) {
  const spec = job.spec ?? {};
  const asList = Array.isArray(spec.command);
  const draft = {
    ...emptyDraft(),
    image: spec.image ?? "",
    command: asList ? spec.command.join(" ") : (spec.command ?? ""),
    commandList: asList ? spec.command : null,
    name: spec.name ?? "",
    project: job.project?.name ?? spec.project ?? "",
    machineType: spec.machineType ?? job.machineType ?? "",
    env: envRows(spec.env),
    inputs: mountRows(spec.datasets),
    outputs: mountRows(spec.outputs),
    workingDirectory: spec.workingDirectory ?? "",
    ports: (spec.ports ?? []).map((port) => (typeof port === "object" ? (port.host ? `${port.container}:${port.host}` : `${port.container}`) : `${port}`)).join(", "),
    timeLimitMinutes: spec.timeLimitSeconds ? String(spec.timeLimitSeconds / 60) : "",
    retries: spec.retries ? String(spec.retries.limit ?? "") : "",
    backoffSeconds: spec.retries?.backoffSeconds ?? null,
    priority: spec.priority ? String(spec.priority) : "",
    tags: (spec.tags ?? []).join(", "),
    sharedMemoryMib: spec.sharedMemoryBytes ? String(spec.sharedMemoryBytes / MIB) : "",
    user: spec.user ?? "",
    registryUsername: spec.registryUsername ?? "",
    registryPassword: spec.registryPassword ?? "",
    dockerfile: spec.build?.dockerfile ?? "",
    cloneOf: job.id,
  };
  if (spec.workspace?.git) Object.assign(draft, { workspace: "git", git: spec.workspace.git, ref: spec.workspace.ref ?? "", gitUsername: spec.workspace.username ?? "", gitPassword: spec.workspace.password ?? "" });
  if (spec.workspace?.upload) Object.assign(draft, { workspace: "upload", uploadId: spec.workspace.upload });
  draft.earlier = { ...draft };
  draft.advanced = ["ports", "timeLimitMinutes", "retries", "priority", "tags", "workingDirectory", "sharedMemoryMib", "user", "registryUsername", "dockerfile"].some((name) => draft[name] !== "");
  return draft;
}

/** A list stays a list while its text was not changed: joined by blanks it would lose its quoting. */
function commandOf({ command, commandList }) {
  if (commandList && command === commandList.join(" ")) return commandList;
  return command.trim();
}

function workspaceOf(draft) {
  if (draft.workspace === "git") {
    const git = { git: draft.git.trim(), ref: draft.ref.trim(), username: draft.gitUsername.trim(), password: draft.gitPassword };
    return Object.fromEntries(Object.entries(git).filter(([name, value]) => name === "git" || value !== ""));
  }
  if (draft.workspace === "upload") return { upload: draft.uploadId || (draft.file ? "up…" : "") };
  return null;
}

/** Variables as the rows of the form. */
export function envRows(env) {
  return Object.entries(env ?? {}).map(([name, value]) =>
    value.startsWith("secret:") ? { name, value: value.slice("secret:".length), secret: true } : { name, value, secret: false },
  );
}

/** Mounted datasets as the rows of the form. */
export function mountRows(mounts) {
  return (mounts ?? []).map(({ ref, name }) => ({ ref, name, named: true }));
}

export function envOf(rows) {
  return Object.fromEntries(rows.filter((row) => row.name.trim()).map((row) => [row.name.trim(), row.secret ? `secret:${row.value}` : row.value]));
}

/** Rows without a dataset are left out, as empty lines of a form are. */
export function mountsOf(rows) {
  return rows.filter(({ ref }) => ref.trim()).map(({ ref, name }) => ({ ref: ref.trim(), name: name.trim() }));
}

function retriesOf({ retries, backoffSeconds }) {
  const limit = numberOf(retries);
  if (!limit) return null;
  return backoffSeconds === null ? { limit } : { limit, backoffSeconds };
}

/** What is no number is sent as it was typed: the daemon says what is wrong with it. */
function portOf(text) {
  const [container, host] = text.split(":").map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : part.trim()));
  return host === undefined ? container : { container, host };
}

export function numberOf(text, unit = 1) {
  return text === "" ? null : Math.round(Number(text) * unit);
}

export function list(text) {
  return text.split(",").map((part) => part.trim()).filter(Boolean);
}

function isLeftOut(value) {
  if (value === null || value === undefined || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}
