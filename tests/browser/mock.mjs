// A daemon of invented data, for working on the pages and for what a real one cannot be made to do
// on request (GPUs, an engine that is away, a stream that breaks). Stories run against the real one.
//
//   node tests/browser/mock.mjs [PORT]      prints the address and a sign-in link
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { makeBox } from "./mock-data.mjs";
import { datasetRoutes } from "./mock-dataset-routes.mjs";
import { fileRoutes } from "./mock-files.mjs";
import { notebookRoutes } from "./mock-notebooks.mjs";
import { tensorboardRoutes } from "./mock-tensorboards.mjs";
import { terminalRoutes, Terminals } from "./mock-terminals.mjs";

const ASSETS = fileURLToPath(new URL("../../assets/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const COOKIE = "__Host-gradientd";
const PROOF = "gdp_mock";

/** Starts a mock; `close()` ends it. `box` is its data, for a test to change. */
export async function startMock({ port = 0, empty = false } = {}) {
  const box = makeBox({ empty });
  box.terminals = new Terminals();
  const server = createServer((request, response) => {
    answer(box, request, response).catch((error) => problem(response, 500, "internal", String(error.stack)));
  });
  server.on("upgrade", (request, socket) => box.terminals.attach(request, socket, request.url.split("/").at(-2)));
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const close = () => {
    box.close();
    box.terminals.cut();
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  /** Ends the streams that are open and refuses new ones with a status, until healed. */
  const cutStreams = (status = 503) => {
    box.refuseStreams = status;
    box.streams.forEach((response) => response.destroy());
  };
  const healStreams = () => (box.refuseStreams = 0);
  return { cutStreams, healStreams, url, signIn: `${url}/sign-in#${box.signInToken}`, box, close };
}

async function answer(box, request, response) {
  const url = new URL(request.url, "http://mock");
  if (url.pathname === "/gradient/environment") return json(response, 200, [{ name: "PAPERSPACE_CONFIG_HOST", value: `http://${request.headers.host}/gradient` }]);
  if (!url.pathname.startsWith("/api/v1")) return file(url.pathname, response);
  const path = url.pathname.slice("/api/v1".length);
  const raw = await read(request);
  const body = raw.toString();
  const signedIn = request.headers.cookie?.includes(`${COOKIE}=session`);
  if (path === "/session") return session(box, request, response, body, signedIn);
  if (!signedIn) return problem(response, 401, "unauthenticated", "Sign in first.");
  if (request.method !== "GET" && request.headers["x-gradientd-session"] !== PROOF) return problem(response, 401, "session_proof_missing", "Sign in again.");
  for (const [method, pattern, handle] of ROUTES) {
    const found = request.method === method && pattern.exec(path);
    if (found) return handle({ box, request, response, query: url.searchParams, body, raw, args: found.slice(1).map(decodeURIComponent) });
  }
  return problem(response, 404, "not_found", `There is no ${request.method} ${path}.`);
}

function session(box, request, response, body, signedIn) {
  if (request.method === "GET") return signedIn ? json(response, 200, box.session) : problem(response, 401, "unauthenticated", "Nobody is signed in.");
  if (request.method === "DELETE") return response.writeHead(204, { "Set-Cookie": `${COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0` }).end();
  const given = JSON.parse(body);
  const good = given.key === "gdk_mock" || (given.signIn === box.signInToken && !box.signInSpent);
  if (!good) return problem(response, 401, "unauthenticated", "This key is not known, or it was revoked. Check that it was copied whole.");
  if (given.signIn) box.signInSpent = true;
  response.setHeader("Set-Cookie", `${COOKIE}=session; Path=/; Secure; HttpOnly; SameSite=Strict`);
  return json(response, 200, { sessionProof: PROOF });
}

const ROUTES = [
  ["GET", /^\/events$/, ({ box, request, response }) => (box.refuseStreams ? problem(response, box.refuseStreams, "refused", "Away.") : stream(box, request, response, (send) => box.subscribe(send)))],
  ["GET", /^\/box$/, ({ box, response }) => json(response, 200, box.facts())],
  ["GET", /^\/gpus$/, ({ box, response }) => json(response, 200, box.gpus())],
  ["GET", /^\/queue$/, ({ box, response }) => json(response, 200, box.queue())],
  ["GET", /^\/machine-types$/, ({ box, response }) => json(response, 200, { items: box.machineTypes, next: null })],
  ["GET", /^\/projects$/, ({ box, response }) => json(response, 200, { items: box.projectItems(), next: null })],
  ["POST", /^\/projects$/, ({ box, response, body }) => json(response, 201, box.makeProject(JSON.parse(body).name))],
  ["GET", /^\/projects\/([^/]+)$/, ({ box, response, args }) => known(response, box.projectItems().find((project) => project.id === args[0]))],
  ["PATCH", /^\/projects\/([^/]+)$/, ({ box, response, args, body }) => known(response, box.renameProject(args[0], JSON.parse(body).name))],
  ["DELETE", /^\/projects\/([^/]+)$/, ({ response }) => problem(response, 409, "project_not_empty", "The project has unfinished jobs. Stop them, or wait until they end.")],
  ["GET", /^\/secrets$/, ({ box, response }) => json(response, 200, { items: box.secrets, next: null })],
  ["PUT", /^\/secrets$/, ({ box, response, body }) => putSecret(box, response, JSON.parse(body))],
  ["DELETE", /^\/secrets\/([^/]+)$/, ({ box, response, args }) => none(response, box.drop("secret", args[0]))],
  ["GET", /^\/keys$/, ({ box, response }) => json(response, 200, { items: box.keys, next: null })],
  ["POST", /^\/keys$/, ({ box, response, body }) => json(response, 201, box.makeKey(JSON.parse(body)))],
  ["DELETE", /^\/keys\/([^/]+)$/, ({ box, response, args }) => none(response, box.revoke(args[0]))],
  ["POST", /^\/uploads$/, ({ response, body }) => json(response, 201, { id: "upmock1", sizeBytes: body.length, files: 3, expiresAt: new Date(Date.now() + 3.6e6).toISOString() })],
  ["GET", /^\/experiments$/, ({ box, response, query }) => json(response, 200, box.listExperiments(query))],
  ["GET", /^\/experiments\/([^/]+)$/, ({ box, response, args }) => known(response, box.experiment(args[0]))],
  ["POST", /^\/experiments\/([^/]+)\/start$/, ({ box, response, args }) => known(response, box.startExperiment(args[0]))],
  ["POST", /^\/experiments\/([^/]+)\/stop$/, ({ box, response, args }) => known(response, box.stopExperiment(args[0]))],
  ["DELETE", /^\/experiments\/([^/]+)$/, ({ box, response, args }) => none(response, box.drop("experiment", args[0]))],
  ["GET", /^\/jobs$/, ({ box, response, query }) => json(response, 200, box.listJobs(query))],
  ["POST", /^\/jobs$/, ({ box, response, body }) => submit(box, response, JSON.parse(body))],
  ["GET", /^\/jobs\/([^/]+)$/, ({ box, response, args }) => known(response, box.placed(box.job(args[0])))],
  ["DELETE", /^\/jobs\/([^/]+)$/, ({ box, response, args }) => none(response, box.drop("job", args[0]))],
  ["POST", /^\/jobs\/([^/]+)\/stop$/, ({ box, response, args }) => known(response, box.stop(args[0]))],
  ["GET", /^\/jobs\/([^/]+)\/logs$/, logs],
  ["GET", /^\/jobs\/([^/]+)\/logs\/download$/, ({ box, response, args }) => text(response, box.logText(args[0]))],
  ["GET", /^\/jobs\/([^/]+)\/charts$/, ({ box, response, args }) => json(response, 200, { items: box.charts(args[0]) })],
  ["GET", /^\/jobs\/([^/]+)\/charts\/([^/]+)$/, ({ box, response, args }) => json(response, 200, box.chart(args[0], args[1]))],
  ["GET", /^\/jobs\/([^/]+)\/metrics$/, ({ box, response, args }) => json(response, 200, box.metrics(args[0]))],
  ["GET", /^\/jobs\/([^/]+)\/artifacts$/, ({ box, response, query }) => json(response, 200, box.artifacts(query.get("path") ?? ""))],
  ["GET", /^\/jobs\/([^/]+)\/artifacts\/(.+)$/, ({ response }) => text(response, "an artifact\n")],
];

function putSecret(box, response, secret) {
  if (!/^[A-Za-z]\w{0,127}$/.test(secret.name)) return problem(response, 422, "bad_name", "A secret's name starts with a letter and holds letters, digits and _ only.", "name");
  return json(response, 200, box.putSecret(secret));
}

function submit(box, response, spec) {
  if (!spec.image && !spec.cloneOf) return problem(response, 422, "missing_image", "Name the image to run, for instance python:3.12-slim.", "image");
  for (const [name, value] of Object.entries(spec.env ?? {})) {
    if (value.startsWith("secret:") && !box.secrets.some((secret) => `secret:${secret.name}` === value)) return problem(response, 422, "unknown_secret", `There is no secret ${value.slice(7)} for the team or this project. Set it under Secrets first.`, `env.${name}`);
  }
  return json(response, 201, box.submit(spec));
}

function logs({ box, request, response, query, args }) {
  const start = Number(request.headers["last-event-id"] ?? Number(query.get("start") ?? 0) - 1) + 1;
  if (request.headers.accept?.includes("text/event-stream")) {
    return stream(box, request, response, (send) => box.followLog(args[0], start, send));
  }
  return json(response, 200, box.logPage(args[0], query));
}

function stream(box, request, response, subscribe) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.write(": open\n\n");
  const unsubscribe = subscribe(({ id, event, data }) => response.write(`id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
  box.streams.add(response);
  response.on("close", () => {
    box.streams.delete(response);
    unsubscribe();
  });
}

async function file(path, response) {
  const isPage = !extname(path) || /^\/(github|git|w)\//.test(path);
  const wanted = isPage ? "/index.html" : normalize(path);
  try {
    const content = await readFile(join(ASSETS, wanted));
    response.writeHead(200, { "Content-Type": TYPES[extname(wanted)] ?? "application/octet-stream", "Content-Security-Policy": POLICY, "Cache-Control": "no-cache" }).end(content);
  } catch {
    response.writeHead(404).end();
  }
}

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

const json = (response, status, value) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
const text = (response, value) => response.writeHead(200, { "Content-Type": "text/plain", "Content-Disposition": "attachment" }).end(value);
const none = (response) => response.writeHead(204).end();
const known = (response, value) => (value ? json(response, 200, value) : problem(response, 404, "not_found", "There is no such thing here."));
const problem = (response, status, code, detail, field) =>
  response.writeHead(status, { "Content-Type": "application/problem+json" }).end(JSON.stringify({ type: "about:blank", title: code, status, code, detail, field, requestId: "01J9Z0MOCK" }));

for (const routes of [datasetRoutes, tensorboardRoutes, notebookRoutes, fileRoutes, terminalRoutes]) ROUTES.push(...routes({ json, none, known, problem }));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await startMock({ port: Number(process.argv[2] ?? 7079) });
  process.stdout.write(`${mock.url}\n${mock.signIn}\n`);
}
