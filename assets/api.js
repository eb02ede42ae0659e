// The only fetch(): every URL of the API and every problem document is known here and nowhere else.

import { again } from "/again.js";

const ROOT = "/api/v1";
const signedOutListeners = new Set();
// Browsers send the cookie to every port of a host, and so to jobs' own pages. This half of the
// session they keep for this address and port alone.
const PROOF = "gradientd.session";

/** What the daemon said was wrong (RFC 9457), or what kept us from asking it. */
export class Problem extends Error {
  constructor({ title, status = 0, code = "unknown", detail, field = null, requestId = null }) {
    super(detail || title || "Something went wrong.");
    Object.assign(this, { title, status, code, detail: this.message, field, requestId });
  }
}

/** Calls the listener whenever an answer says that nobody is signed in. */
export function onSignedOut(listener) {
  signedOutListeners.add(listener);
}

function url(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") search.set(name, value);
  }
  const text = search.toString();
  return ROOT + path + (text ? `?${text}` : "");
}

/** Keeps the slashes of a path and encodes its parts. */
function encodePath(path) {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** Browsers of a few years ago want a websocket's address whole. */
function socketAddress(path) {
  const address = new URL(url(path), location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

/** The headers by which the daemon knows this page. */
function signedHeaders() {
  const proof = localStorage.getItem(PROOF);
  return proof ? { Accept: "application/json", "X-Gradientd-Session": proof } : { Accept: "application/json" };
}

const UNREACHABLE = {
  code: "unreachable",
  title: "The daemon does not answer",
  detail: "The daemon does not answer. Check that gradientd runs on the box and that this machine can reach it.",
};

const stopped = (cause) => cause.name === "AbortError";

/** Says of whatever kept an answer from coming what a person can do about it. */
async function reached(ask) {
  try {
    return await ask();
  } catch (cause) {
    throw stopped(cause) ? cause : new Problem(UNREACHABLE);
  }
}

async function request(method, address, { body, type, signal, quiet401 = false, idempotencyKey } = {}) {
  const headers = signedHeaders();
  if (body !== undefined) headers["Content-Type"] = type ?? "application/json";
  if (method === "POST") headers["Idempotency-Key"] = idempotencyKey ?? newIdempotencyKey();
  const init = { method, headers, signal, body: body === undefined || type ? body : JSON.stringify(body) };
  // What only reads may be asked twice.
  const response = await (method === "GET" ? reached(() => again(() => fetch(address, init), stopped)) : reached(() => fetch(address, init)));
  if (!response.ok) throw problemOf(response.status, await response.text(), response.headers.get("x-request-id"), quiet401);
  if (response.status === 204) return null;
  return response.json();
}

/** Sends bytes and tells how far it is; only an XMLHttpRequest knows. `onProgress(sentBytes)`. */
function send(method, address, blob, { onProgress, signal, headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new DOMException("Stopped.", "AbortError"));
    const sending = new XMLHttpRequest();
    sending.open(method, address);
    for (const [name, value] of Object.entries({ ...signedHeaders(), ...headers })) sending.setRequestHeader(name, value);
    sending.setRequestHeader("Content-Type", "application/octet-stream");
    sending.upload.onprogress = (event) => onProgress?.(event.loaded);
    sending.onload = () => {
      const { status, responseText } = sending;
      if (status >= 200 && status < 300) resolve(responseText ? JSON.parse(responseText) : null);
      else reject(problemOf(status, responseText, sending.getResponseHeader("x-request-id")));
    };
    // A file that changed or went away on the disk ends here too; the browser does not say which.
    sending.onerror = () => reject(new Problem(UNREACHABLE));
    sending.onabort = () => reject(new DOMException("Stopped.", "AbortError"));
    signal?.addEventListener("abort", () => sending.abort(), { once: true });
    sending.send(blob);
  });
}

/** A piece of a file as bytes, with the whole's size. `end` is the first byte that is not wanted. */
async function range(address, start, end, signal) {
  const headers = { ...signedHeaders(), Accept: "*/*", Range: `bytes=${start}-${end - 1}` };
  const response = await reached(() => again(() => fetch(address, { headers, signal }), stopped));
  if (response.status === 416) return { content: new Uint8Array(), total: start };
  if (!response.ok) throw problemOf(response.status, await response.text(), response.headers.get("x-request-id"));
  const content = new Uint8Array(await response.arrayBuffer());
  const total = Number(response.headers.get("content-range")?.split("/")[1] ?? content.length);
  const etag = response.headers.get("etag");
  return { content: response.status === 206 ? content : content.subarray(start, end), total, etag };
}

function problemOf(status, text, requestId, quiet401 = false) {
  let document = {};
  try {
    document = JSON.parse(text);
  } catch {
    document = { title: `The daemon answered ${status} without saying why.` };
  }
  const problem = new Problem({ ...document, status, requestId: document.requestId ?? requestId });
  if (problem.status === 401 && !quiet401) signedOutListeners.forEach((listener) => listener(problem));
  return problem;
}

/** Names one intent: the daemon does what it asks for once, however often it is sent. */
export function newIdempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const get = (path, query, options) => request("GET", url(path, query), options);
const post = (path, body, options) => request("POST", url(path), { body, ...options });
const put = (path, body) => request("PUT", url(path), { body });
const patch = (path, body) => request("PATCH", url(path), { body });
const remove = (path, query) => request("DELETE", url(path, query));

const datasetPath = (dataset) => `/datasets/${encodeURIComponent(dataset)}`;
const filesPath = (root) => `/files/${encodeURIComponent(root)}`;
/** How a query or a body names a path: by its bytes where it is not UTF-8. */
const named = ({ path, pathBase64 }) => (pathBase64 ? { pathBase64 } : { path });
const versionPath = (dataset, version) => `${datasetPath(dataset)}/versions/${encodeURIComponent(version)}`;

export const api = {
  session: () => get("/session", {}, { quiet401: true }),
  /** As `session`, but somebody who is no longer signed in is led to the sign-in. */
  checkSession: () => get("/session"),
  async signIn(credentials) {
    const { sessionProof } = await post("/session", credentials, { quiet401: true });
    localStorage.setItem(PROOF, sessionProof);
  },
  async signOut() {
    await remove("/session");
    localStorage.removeItem(PROOF);
  },

  keys: (query) => get("/keys", query),
  createKey: (key) => post("/keys", key),
  revokeKey: (id) => remove(`/keys/${id}`),

  projects: (query) => get("/projects", query),
  project: (id) => get(`/projects/${id}`),
  createProject: (project) => post("/projects", project),
  renameProject: (id, name) => patch(`/projects/${id}`, { name }),
  deleteProject: (id) => remove(`/projects/${id}`),

  secrets: (query) => get("/secrets", query),
  putSecret: (secret) => put("/secrets", secret),
  deleteSecret: (id) => remove(`/secrets/${id}`),

  jobs: (query, options) => get("/jobs", query, options),
  job: (id) => get(`/jobs/${id}`),
  /** The variables that point the original command line here; not a part of the API itself. */
  gradientEnvironment: () => request("GET", "/gradient/environment"),
  createJob: (spec, idempotencyKey) => post("/jobs", spec, { idempotencyKey }),
  openWorkload: (id, what) => post(`/workloads/${id}/open`, what),
  terminals: (id) => get(`/workloads/${id}/terminals`),
  openTerminal: (id, size) => post(`/workloads/${id}/terminals`, size),
  closeTerminal: (id, terminal) => remove(`/workloads/${id}/terminals/${terminal}`),
  /** A websocket. It takes no header, so this page shows what is its own as a protocol that it offers. */
  attachTerminal: (id, terminal) => new WebSocket(socketAddress(`/workloads/${id}/terminals/${terminal}/attach`), ["gradientd.terminal", `gradientd.session.${localStorage.getItem(PROOF) ?? ""}`]),
  createWorkloadToken: (id, what) => post(`/workloads/${id}/tokens`, what),
  stopJob: (id) => post(`/jobs/${id}/stop`),
  deleteJob: (id) => remove(`/jobs/${id}`),

  experiments: (query) => get("/experiments", query),
  experiment: (id) => get(`/experiments/${id}`),
  startExperiment: (id, idempotencyKey) => post(`/experiments/${id}/start`, {}, { idempotencyKey }),
  stopExperiment: (id) => post(`/experiments/${id}/stop`),
  deleteExperiment: (id) => remove(`/experiments/${id}`),

  notebooks: (query) => get("/notebooks", query),
  notebook: (id) => get(`/notebooks/${id}`),
  createNotebook: (spec, idempotencyKey) => post("/notebooks", spec, { idempotencyKey }),
  changeNotebook: (id, changes) => patch(`/notebooks/${id}`, changes),
  startNotebook: (id, changes = {}) => post(`/notebooks/${id}/start`, changes),
  stopNotebook: (id) => post(`/notebooks/${id}/stop`),
  extendNotebook: (id, seconds) => post(`/notebooks/${id}/extend`, { seconds }),
  forkNotebook: (id, changes = {}) => post(`/notebooks/${id}/fork`, changes),
  deleteNotebook: (id) => remove(`/notebooks/${id}`),
  sessions: (id, query) => get(`/notebooks/${id}/sessions`, query),
  integrations: (id) => get(`/notebooks/${id}/integrations`),
  putIntegration: (id, name, what) => put(`/notebooks/${id}/integrations/${encodeURIComponent(name)}`, what),
  removeIntegration: (id, name) => remove(`/notebooks/${id}/integrations/${encodeURIComponent(name)}`),

  tensorboards: (query) => get("/tensorboards", query),
  tensorboard: (id) => get(`/tensorboards/${id}`),
  createTensorboard: (spec, idempotencyKey) => post("/tensorboards", spec, { idempotencyKey }),
  changeTensorboard: (id, changes) => patch(`/tensorboards/${id}`, changes),
  startTensorboard: (id) => post(`/tensorboards/${id}/start`),
  stopTensorboard: (id) => post(`/tensorboards/${id}/stop`),
  addMembers: (id, members) => post(`/tensorboards/${id}/members`, { members }),
  removeMember: (id, name) => remove(`/tensorboards/${id}/members/${encodeURIComponent(name)}`),
  deleteTensorboard: (id) => remove(`/tensorboards/${id}`),

  logLines: (id, query, options) => get(`/jobs/${id}/logs`, query, options),
  charts: (id) => get(`/jobs/${id}/charts`),
  chart: (id, name, source, points) => get(`/jobs/${id}/charts/${encodeURIComponent(name)}`, { source, points }),
  metrics: (id, points) => get(`/jobs/${id}/metrics`, { points }),
  artifacts: (id, query) => get(`/jobs/${id}/artifacts`, query),

  upload: (file, signal) => request("POST", url("/uploads"), { body: file, type: archiveType(file), signal }),

  datasets: (query) => get("/datasets", query),
  createDataset: (dataset) => post("/datasets", dataset),
  dataset: (id) => get(datasetPath(id)),
  changeDataset: (id, changes) => patch(datasetPath(id), changes),
  deleteDataset: (id, force) => remove(datasetPath(id), { force: force || null }),
  lineage: (id) => get(`${datasetPath(id)}/lineage`),
  setTag: (id, tag, version) => put(`${datasetPath(id)}/tags/${encodeURIComponent(tag)}`, { version }),
  removeTag: (id, tag) => remove(`${datasetPath(id)}/tags/${encodeURIComponent(tag)}`),

  versions: (id, query) => get(`${datasetPath(id)}/versions`, query),
  createVersion: (id, version) => post(`${datasetPath(id)}/versions`, version),
  version: (id, version) => get(versionPath(id, version)),
  changeVersion: (id, version, changes) => patch(versionPath(id, version), changes),
  deleteVersion: (id, version, force) => remove(versionPath(id, version), { force: force || null }),
  commit: (id, version) => post(`${versionPath(id, version)}/commit`),
  versionLineage: (id, version) => get(`${versionPath(id, version)}/lineage`),
  diff: (id, version, query) => get(`${versionPath(id, version)}/diff`, query),
  files: (id, version, query, options) => get(`${versionPath(id, version)}/files`, query, options),
  fileRange: (id, version, file, start, end, signal) => range(addresses.file(id, version, file), start, end, signal),
  putFile: (id, version, path, blob, options) => send("PUT", url(`${versionPath(id, version)}/files/${encodePath(path)}`), blob, options),
  deleteFile: (id, version, file) => request("DELETE", addresses.file(id, version, file)),
  signUrls: (id, version, calls) => post(`${versionPath(id, version)}/signed-urls`, { calls }),
  multipartUploads: (id, version) => get(`${versionPath(id, version)}/multipart`),
  beginMultipart: (id, version, path) => post(`${versionPath(id, version)}/multipart`, { path }),
  putPart: (id, version, upload, number, blob, options) => send("PUT", url(`${versionPath(id, version)}/multipart/${upload}/${number}`), blob, options),
  completeMultipart: (id, version, upload) => post(`${versionPath(id, version)}/multipart/${upload}/complete`),
  abortMultipart: (id, version, upload) => remove(`${versionPath(id, version)}/multipart/${upload}`),
  imports: (id, version) => get(`${versionPath(id, version)}/imports`),
  startImport: (id, version, source) => post(`${versionPath(id, version)}/imports`, source),
  allImports: (query) => get("/imports", query),
  import: (id) => get(`/imports/${id}`),
  cancelImport: (id) => remove(`/imports/${id}`),

  entries: (root, folder, query, options) => get(`${filesPath(root)}/list`, { ...(folder.path ? named(folder) : {}), ...query }, options),
  entry: (root, entry) => get(`${filesPath(root)}/entry`, named(entry)),
  entryRange: (root, entry, start, end, signal) => range(addresses.content(root, entry), start, end, signal),
  /** `ifMatch` replaces only what has that etag; `keep` replaces nothing. */
  putEntry: (root, path, blob, { ifMatch, keep, ...options } = {}) =>
    send("PUT", addresses.content(root, { path }), blob, { ...options, headers: { ...(ifMatch ? { "If-Match": ifMatch } : {}), ...(keep ? { "If-None-Match": "*" } : {}) } }),
  deleteEntry: (root, entry, { recursive } = {}) => request("DELETE", addresses.content(root, entry, { recursive: recursive || null })),
  makeDirectory: (root, path) => post(`${filesPath(root)}/directories`, { path }),
  moveEntry: (root, entry, to) => post(`${filesPath(root)}/move`, { ...named(entry), to }),
  copyEntry: (root, entry, to) => post(`${filesPath(root)}/copy`, { ...named(entry), to }),
  fileTask: (id) => get(`/file-tasks/${id}`),
  cancelFileTask: (id) => remove(`/file-tasks/${id}`),
  entryUploads: (root) => get(`${filesPath(root)}/uploads`),
  beginEntryUpload: (root, upload) => post(`${filesPath(root)}/uploads`, upload),
  entryUpload: (root, id) => get(`${filesPath(root)}/uploads/${id}`),
  continueEntryUpload: (root, id, offset, blob, options) => send("PATCH", url(`${filesPath(root)}/uploads/${id}`), blob, { ...options, headers: { "Upload-Offset": String(offset) } }),
  finishEntryUpload: (root, id) => post(`${filesPath(root)}/uploads/${id}/finish`),
  dropEntryUpload: (root, id) => remove(`${filesPath(root)}/uploads/${id}`),

  storageProviders: () => get("/storage-providers"),
  createProvider: (provider) => post("/storage-providers", provider),
  checkProvider: (id) => post(`/storage-providers/${id}/check`),
  deleteProvider: (id) => remove(`/storage-providers/${id}`),
  storage: () => get("/storage"),
  lastCleaning: () => get("/storage/gc"),
  clean: (options) => post("/storage/gc", options),
  integrity: () => get("/storage/fsck"),
  startIntegrityCheck: (options) => post("/storage/fsck", options),

  machineTypes: () => get("/machine-types"),
  gpus: () => get("/gpus"),
  queue: () => get("/queue"),
  box: () => get("/box"),
};

/** Addresses a browser opens by itself: downloads and streams. */
export const addresses = {
  events: () => url("/events"),
  logStream: (id, start, attempt) => url(`/jobs/${id}/logs`, { start, attempt }),
  logDownload: (id, attempt) => url(`/jobs/${id}/logs/download`, { attempt }),
  artifact: (id, path) => url(`/jobs/${id}/artifacts/${encodePath(path)}`),
  artifactArchive: (id, kind) => url(`/jobs/${id}/artifacts.${kind}`),
  file: (id, version, file, query) => url(`${versionPath(id, version)}/files/${fileNamePath(file)}`, query),
  content: (root, entry, query) => url(`${filesPath(root)}/content/${fileNamePath(entry)}`, query),
  /** Entries as one archive; all of the root where none is named. */
  entriesArchive: (root, entries, format = "zip") => {
    const search = new URLSearchParams({ format });
    for (const entry of entries) for (const [name, value] of Object.entries(named(entry))) search.append(name, value);
    return `${url(`${filesPath(root)}/archive`)}?${search}`;
  },
  files: (root) => location.origin + url(filesPath(root)),
  versionArchive: (id, version, kind, prefix) => url(`${versionPath(id, version)}.${kind}`, { prefix }),
  datasets: () => location.origin + url("/datasets"),
  dataset: (id) => location.origin + url(datasetPath(id)),
  version: (id, version) => location.origin + url(versionPath(id, version)),
  storageProviders: () => location.origin + url("/storage-providers"),
  openApi: () => url("/openapi.json"),
  jobs: () => location.origin + url("/jobs"),
  experiments: () => location.origin + url("/experiments"),
  notebooks: () => location.origin + url("/notebooks"),
  tensorboards: () => location.origin + url("/tensorboards"),
};

/** A file's path in an address. A name that is not UTF-8 travels as the bytes that it is. */
function fileNamePath({ path, pathBase64 }) {
  if (!pathBase64) return encodePath(path);
  return Array.from(atob(pathBase64), (byte) => (/[\w.\-~/]/.test(byte) ? byte : `%${byte.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`)).join("");
}

function archiveType(file) {
  if (file.name?.endsWith(".zip")) return "application/zip";
  if (/\.(tgz|tar\.gz)$/.test(file.name ?? "")) return "application/gzip";
  if (/\.(zst|tar\.zst)$/.test(file.name ?? "")) return "application/zstd";
  return "application/x-tar";
}
