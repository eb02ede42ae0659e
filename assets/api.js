// The only fetch(): every URL of the API and every problem document is known here and nowhere else.

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

async function request(method, address, { body, type, signal, quiet401 = false, idempotencyKey } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = type ?? "application/json";
  const proof = localStorage.getItem(PROOF);
  if (proof) headers["X-Gradientd-Session"] = proof;
  if (method === "POST") headers["Idempotency-Key"] = idempotencyKey ?? newIdempotencyKey();
  let response;
  try {
    response = await fetch(address, {
      method,
      headers,
      signal,
      body: body === undefined || type ? body : JSON.stringify(body),
    });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Problem({
      code: "unreachable",
      title: "The daemon does not answer",
      detail: "The daemon does not answer. Check that gradientd runs on the box and that this machine can reach it.",
    });
  }
  if (!response.ok) throw await problemOf(response, quiet401);
  if (response.status === 204) return null;
  return response.json();
}

async function problemOf(response, quiet401) {
  let document = {};
  try {
    document = await response.json();
  } catch {
    document = { title: `The daemon answered ${response.status} without saying why.` };
  }
  const problem = new Problem({
    ...document,
    status: response.status,
    requestId: document.requestId ?? response.headers.get("x-request-id"),
  });
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
const remove = (path) => request("DELETE", url(path));

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
  renameProject: (id, name) => request("PATCH", url(`/projects/${id}`), { body: { name } }),
  deleteProject: (id) => remove(`/projects/${id}`),

  secrets: (query) => get("/secrets", query),
  putSecret: (secret) => request("PUT", url("/secrets"), { body: secret }),
  deleteSecret: (id) => remove(`/secrets/${id}`),

  jobs: (query, options) => get("/jobs", query, options),
  job: (id) => get(`/jobs/${id}`),
  createJob: (spec, idempotencyKey) => post("/jobs", spec, { idempotencyKey }),
  stopJob: (id) => post(`/jobs/${id}/stop`),
  deleteJob: (id) => remove(`/jobs/${id}`),

  logLines: (id, query, options) => get(`/jobs/${id}/logs`, query, options),
  charts: (id) => get(`/jobs/${id}/charts`),
  chart: (id, name, points) => get(`/jobs/${id}/charts/${encodeURIComponent(name)}`, { points }),
  metrics: (id, points) => get(`/jobs/${id}/metrics`, { points }),
  artifacts: (id, query) => get(`/jobs/${id}/artifacts`, query),

  upload: (file, signal) => request("POST", url("/uploads"), { body: file, type: archiveType(file), signal }),

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
  openApi: () => url("/openapi.json"),
  jobs: () => location.origin + url("/jobs"),
};

function archiveType(file) {
  if (file.name?.endsWith(".zip")) return "application/zip";
  if (/\.(tgz|tar\.gz)$/.test(file.name ?? "")) return "application/gzip";
  if (/\.(zst|tar\.zst)$/.test(file.name ?? "")) return "application/zstd";
  return "application/x-tar";
}
