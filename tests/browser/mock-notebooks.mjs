// The mock's notebooks: invented ones in every state, and the few verbs that change them.
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const ahead = (seconds) => ago(-seconds);
const GIB = 1024 ** 3;

/** An integration as the box tells of one. */
function dataset(name, ref, origin, state, version, more = {}) {
  const whole = version && { dataset: `ds${name}`, datasetName: name, public: false, tags: [], newer: null, deleted: false, ...version };
  return { name, path: `/datasets/${name}`, type: "dataset", origin, state, message: null, progress: null, ref, version: whole, s3: null, ...more };
}

export class MockNotebooks {
  all = [];
  sessions = new Map(); // By notebook, newest first.
  data = new Map(); // By notebook: what it has beneath /datasets, and what is wrong with its file.
  s3Sources = true; // Whether the box mounts places on S3.
  tokens = 0;
  extended = []; // The seconds of each extension that was asked for.

  constructor(emit) {
    this.emit = emit;
  }

  fill() {
    const running = { state: "running", phase: "running" };
    this.add({ id: "n4kq0z81", name: "train-digits", ...running, ready: true, machineType: "gpu-1", image: "gradient/pytorch-jupyter:2.4", tags: ["vision"], project: 2, ago: 9e4, sessions: 3, started: 5400, gpus: ["GPU-0000"], shutsIn: 7.6 * 3600, idleIn: 2.7 * 3600, activity: [960, "the kernel of train.ipynb is busy"], spec: { keepPackages: true, datasets: [{ ref: "digits:stable", name: "digits" }], env: { EPOCHS: "20", HF_TOKEN: "secret:HF_TOKEN" } } });
    this.add({ id: "nsoon000", name: "evaluate", ...running, ready: true, user: "grace", ago: 5e4, sessions: 1, started: 42000, shutsIn: 540, activity: [30, "a terminal says something"], spec: { idleSeconds: null } });
    this.add({ id: "nqueued0", name: "finetune", state: "pending", phase: "queued", machineType: "gpu-4", ago: 400, sessions: 1, queue: { position: 2, reason: "needs 4 GPUs; 1 of 4 is free", expectedStart: ahead(27_000), expectedIfIdle: ahead(11_400) } });
    this.add({ id: "nprepare", name: "diffusion", state: "pending", phase: "preparing", machineType: "gpu-1", ago: 60, sessions: 1, progress: { what: "pulling jupyter/datascience-notebook:latest", doneBytes: 1.3 * GIB, totalBytes: 3.4 * GIB } });
    this.add({ id: "nstart00", name: "first-steps", ...running, ready: false, ago: 20, sessions: 1, started: 4, shutsIn: 43200 });
    this.add({ id: "nstopped", name: "course", state: "stopped", machineType: "cpu-small", tags: ["course"], public: true, ago: 2e5, sessions: 4, started: 9e4, ran: 13000, message: "stopped after 3 h without activity; the last was: the kernel of lesson-2.ipynb was busy. Its files are kept: start it again", activity: [8e4, "the kernel of lesson-2.ipynb was busy"], spec: { workspace: { git: "https://github.com/lovelace/course.git", ref: "main" }, public: true } });
    this.add({ id: "nfailed0", name: "no-jupyter", state: "failed", image: "python:3.12-slim", ago: 3e5, sessions: 1, started: 3e5, ran: 120, exitCode: null, message: "no Jupyter server answered on port 8888 of it in time: the image needs JupyterLab, and a command of your own has to listen there on 0.0.0.0. Its log has what it said", lastLines: ["Python 3.12.7 (main, Oct 19 2024) [GCC 12.2.0] on linux", ">>> "] });
    this.add({ id: "nfork000", name: "Fork of course", state: "created", ago: 15, sessions: 0, forkedFrom: "nstopped", copying: { files: 214, bytes: 3.1e8, message: null } });
    this.data.set("n4kq0z81", { hasFile: true, problems: [{ name: "../up", message: "the name “../up” may hold letters, digits, “-”, “_” and “.” only, and begins with a letter or digit: it becomes the name of a directory" }], items: [
      dataset("digits", "digits:stable", "settings", "mounted", { id: "v1aaaaa", tags: ["stable"], newer: "v2bbbbb", bytes: 1.2e7, files: 4200 }),
      dataset("corpus", "corpus:latest", "file", "fetching", { id: "vcorp01", bytes: 42 * GIB, files: 1_204 }, { progress: { doneBytes: 11 * GIB, totalBytes: 42 * GIB } }),
      dataset("words", "gradient/words:latest", "public", "mounted", { id: "vwords1", public: true, bytes: 3e6, files: 1 }),
      { ...dataset("lab", null, "file", "failed", null, { message: "S3 sources are not available on this box: import the files into a dataset instead" }), type: "s3", s3: { url: "s3://lab/raw", region: null, endpoint: "https://minio.lab.example", accessKeyId: "LABKEY", secretAccessKey: "secret:S3_KEY", readOnly: false } },
    ] });
    this.add({ id: "npublic0", name: "attention-explained", state: "stopped", team: "others", user: "joan", public: true, ago: 6e5, sessions: 1, started: 5e5, ran: 900 });
  }

  add({ id, team = "ours", user = "ada", machineType = "cpu-small", image = "jupyter/scipy-notebook:latest", project = 1, tags = [], phase = null, ready = false, message = null, queue = null, progress = null, forkedFrom = null, copying = null, sessions = 0, gpus = [], spec = {}, ...facts }) {
    const projects = ["default", "vision", "speech-to-text"];
    const list = Array.from({ length: sessions }, (_, i) => ({
      id: i ? `js${id}${i}` : `js${id}`, state: i ? "cancelled" : (facts.state === "stopped" ? "cancelled" : facts.state), exitCode: i ? null : (facts.exitCode ?? null), gpus: i ? [] : gpus,
      startedAt: facts.started || i ? ago((facts.started ?? 0) + i * 90_000) : null, finishedAt: i ? ago((facts.started ?? 0) + i * 90_000 - 7200) : facts.ran ? ago(facts.started - facts.ran) : null,
      readyAt: ready ? ago(facts.started - 6) : null, shutsDownAt: !i && facts.shutsIn ? ahead(facts.shutsIn) : null, idleAt: !i && facts.idleIn ? ahead(facts.idleIn) : null,
      activity: !i && facts.activity ? { at: ago(facts.activity[0]), what: facts.activity[1] } : null, createdAt: ago((facts.started ?? facts.ago) + i * 90_000 + 3),
    }));
    this.sessions.set(id, list);
    const whole = { name: facts.name, project: projects[project - 1], image, machineType, env: team === "ours" ? {} : null, workspace: null, datasets: [], tags, public: facts.public ?? false, keepPackages: false, shutdownSeconds: 43_200, idleSeconds: 10_800, ...spec };
    const notebook = { id, team, name: facts.name, project: team === "ours" ? { id: `pr${project}`, name: projects[project - 1] } : null, user: { id: user === "ada" ? "us1" : "us2", name: user }, state: facts.state, phase, ready, message, lastLines: facts.lastLines ?? [], contact: "ok", image, machineType, tags, public: facts.public ?? false, forkedFrom, copying, progress, queue, createdAt: ago(facts.ago), spec: whole, size: sessions ? { filesBytes: 4.2e8, packagesBytes: whole.keepPackages ? 9.1e8 : 0, countedAt: ago(90) } : null };
    this.all.push(notebook);
    return notebook;
  }

  find(id) {
    const notebook = this.all.find((candidate) => candidate.id === id);
    return notebook && { ...notebook, session: this.sessions.get(id)[0] ?? null };
  }

  list(query) {
    const text = query.get("q");
    const fits = (one) => (query.has("public") ? one.public : one.team === "ours") && (!query.has("mine") || one.user.name === "ada") && (!query.has("live") || one.phase) && (!text || one.name.includes(text) || one.id.includes(text)) && (!query.get("tag") || one.tags.includes(query.get("tag")));
    return { items: this.all.filter(fits).map(({ id }) => this.find(id)), next: null };
  }

  integrations(id) {
    if (!this.data.has(id)) this.data.set(id, { hasFile: false, problems: [], items: [] });
    return { file: ".gradient/settings.yaml", s3Sources: this.s3Sources, ...this.data.get(id) };
  }

  putIntegration(id, name, what) {
    const data = this.integrations(id);
    const state = this.find(id).phase ? "mounted" : "not_running";
    const item = what.type === "s3"
      ? { ...dataset(name, null, "file", state, null), type: "s3", s3: { region: null, endpoint: null, ...what, type: undefined } }
      : dataset(name, what.ref, "file", state, { id: what.ref.split(":")[1] === "latest" ? "v2bbbbb" : what.ref.split(":")[1], bytes: 1.2e7, files: 4200 });
    this.data.set(id, { ...data, hasFile: true, items: [...data.items.filter((other) => other.name !== name), item] });
    this.emit("notebook", id, "data");
    return this.integrations(id);
  }

  removeIntegration(id, name) {
    const data = this.integrations(id);
    this.data.set(id, { ...data, items: data.items.filter((other) => other.name !== name), problems: data.problems.filter((other) => other.name !== name) });
    this.emit("notebook", id, "data");
    return this.integrations(id);
  }

  create(spec) {
    const id = `nnew${this.all.length}000`.slice(0, 8);
    const notebook = this.add({ ...spec, id, name: spec.name ?? "notebook", state: "created", ago: 0, spec: { ...spec, env: spec.env ?? {} } });
    this.all.unshift(this.all.pop());
    this.emit("notebook", id, "created");
    if (spec.start !== false) this.start(id, {});
    return this.find(notebook.id);
  }

  change(id, changes) {
    const notebook = this.all.find((candidate) => candidate.id === id);
    Object.assign(notebook.spec, changes);
    for (const name of ["name", "image", "machineType", "tags", "public"]) if (name in changes) notebook[name] = changes[name];
    this.emit("notebook", id, "changed");
    return this.find(id);
  }

  /** A start waits for `answer`, as a server takes its time. */
  start(id, changes) {
    const notebook = this.all.find((candidate) => candidate.id === id);
    if (Object.keys(changes).length) this.change(id, changes);
    const list = this.sessions.get(id);
    list.unshift({ id: `js${id}${list.length}s`, state: "running", exitCode: null, gpus: [], startedAt: ago(0), finishedAt: null, readyAt: null, shutsDownAt: ahead(notebook.spec.shutdownSeconds ?? 43_200), idleAt: null, activity: { at: ago(0), what: "it was started" }, createdAt: ago(0) });
    Object.assign(notebook, { state: "running", phase: "running", ready: false, message: null });
    this.emit("notebook", id, "state");
    return this.find(id);
  }

  /** Its server answers from now on. */
  answer(id) {
    this.all.find((candidate) => candidate.id === id).ready = true;
    this.sessions.get(id)[0].idleAt = ahead(10_800);
    this.emit("notebook", id, "ready");
  }

  /** A process of it is killed for memory; the session goes on. */
  runOutOfMemory(id) {
    const [session] = this.sessions.get(id);
    const message = "a process was killed because the 64.0 GiB of memory of the machine type were full. If that was a kernel, Jupyter started another in its place, which has none of its variables: load less at once and shut down kernels that you are done with, or start it on a machine type with more memory";
    session.memoryKills = { times: (session.memoryKills?.times ?? 0) + 1, lastAt: ago(0), message };
    this.emit("notebook", id, "memory");
  }

  stop(id) {
    const notebook = this.all.find((candidate) => candidate.id === id);
    const [session] = this.sessions.get(id);
    if (notebook.phase) Object.assign(session, { state: "cancelled", finishedAt: ago(0), shutsDownAt: null, idleAt: null });
    Object.assign(notebook, { state: "stopped", phase: null, ready: false });
    this.emit("notebook", id, "state");
    return this.find(id);
  }

  extend(id, seconds) {
    this.extended.push(seconds);
    this.sessions.get(id)[0].shutsDownAt = ahead(seconds);
    this.emit("notebook", id, "changed");
    return this.find(id);
  }

  fork(id, changes) {
    const from = this.find(id);
    const made = this.add({ id: `nfork${this.all.length}00`.slice(0, 8), name: changes.name ?? `Fork of ${from.name}`, state: "created", ago: 0, image: from.image, machineType: from.machineType, forkedFrom: id, spec: { ...from.spec, env: {}, name: changes.name } });
    this.emit("notebook", made.id, "created");
    return this.find(made.id);
  }

  remove(id) {
    this.all = this.all.filter((candidate) => candidate.id !== id);
    this.emit("notebook", id, "deleted");
  }

  /** A session as the log and the metrics of a run find it. */
  run(id) {
    for (const list of this.sessions.values()) {
      const session = list.find((candidate) => candidate.id === id);
      if (session) return { ...session, phase: session.finishedAt ? null : "running", gpus: session.gpus.map((uuid) => ({ uuid, index: null })) };
    }
    return undefined;
  }
}

/** The routes of notebooks and of what is opened, for the mock's table. */
export function notebookRoutes({ json, none, known, problem }) {
  const id = "([^/]+)";
  const of = (box) => box.notebooks;
  return [
    ["GET", /^\/notebooks$/, ({ box, response, query }) => json(response, 200, of(box).list(query))],
    ["POST", /^\/notebooks$/, create],
    ["GET", new RegExp(`^/notebooks/${id}$`), ({ box, response, args }) => known(response, box.placed(of(box).find(args[0])))],
    ["PATCH", new RegExp(`^/notebooks/${id}$`), ({ box, response, args, body }) => json(response, 200, of(box).change(args[0], JSON.parse(body)))],
    ["DELETE", new RegExp(`^/notebooks/${id}$`), ({ box, response, args }) => none(response, of(box).remove(args[0]))],
    ["POST", new RegExp(`^/notebooks/${id}/start$`), ({ box, response, args, body }) => json(response, 200, of(box).start(args[0], JSON.parse(body || "{}")))],
    ["POST", new RegExp(`^/notebooks/${id}/stop$`), ({ box, response, args }) => json(response, 200, of(box).stop(args[0]))],
    ["POST", new RegExp(`^/notebooks/${id}/extend$`), ({ box, response, args, body }) => json(response, 200, of(box).extend(args[0], JSON.parse(body).seconds))],
    ["POST", new RegExp(`^/notebooks/${id}/fork$`), ({ box, response, args, body }) => json(response, 201, of(box).fork(args[0], JSON.parse(body || "{}")))],
    ["GET", new RegExp(`^/notebooks/${id}/integrations$`), ({ box, response, args }) => json(response, 200, of(box).integrations(args[0]))],
    ["PUT", new RegExp(`^/notebooks/${id}/integrations/${id}$`), putIntegration],
    ["DELETE", new RegExp(`^/notebooks/${id}/integrations/${id}$`), ({ box, response, args }) => json(response, 200, of(box).removeIntegration(args[0], decodeURIComponent(args[1])))],
    ["GET", new RegExp(`^/notebooks/${id}/sessions$`), ({ box, response, args }) => json(response, 200, { items: of(box).sessions.get(args[0]), next: null })],
    ["POST", new RegExp(`^/workloads/${id}/open$`), open],
    ["POST", new RegExp(`^/workloads/${id}/tokens$`), ({ box, request, response, args, body }) => json(response, 201, { token: `gdw_${++of(box).tokens}Hq2vXk9mZt4LwPb8RnYc3JdF`, url: `http://${request.headers.host}/w/${args[0]}/`, expiresAt: ahead(JSON.parse(body).expiresInSeconds ?? 604_800) })],
  ];

  function create({ box, response, body }) {
    const spec = JSON.parse(body);
    if (!spec.image) return problem(response, 422, "missing_image", "Name the image to run; it needs JupyterLab in it.", "image");
    if (spec.shutdownSeconds === null) return problem(response, 422, "too_long", "a session ends after 604800 seconds at most on this box", "shutdownSeconds");
    if (spec.workspace?.git?.includes("nowhere")) return problem(response, 422, "bad_git_url", "no git repository is at this address", "workspace.git");
    return json(response, 201, of(box).create(spec));
  }

  function putIntegration({ box, response, args, body }) {
    const what = JSON.parse(body);
    if (what.ref?.startsWith("nothing")) return problem(response, 422, "bad_reference", "there is no dataset “nothing” that this team may read: make it, or correct the name", "ref");
    return json(response, 200, of(box).putIntegration(args[0], decodeURIComponent(args[1]), what));
  }

  /** What is opened is a page of the mock itself, which tells where one came to. */
  function open({ request, response, args, body }) {
    const { port } = JSON.parse(body);
    const name = port ? `${args[0]}-${port}` : args[0];
    return json(response, 200, { url: `http://${request.headers.host}/w/${name}/?gradientd-ticket=gdt_mock`, expiresInSeconds: 60 });
  }
}
