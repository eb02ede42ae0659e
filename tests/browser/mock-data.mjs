// The mock's box: invented jobs, GPUs and logs, and the few verbs that change them.
import { MockDatasets, PICTURE } from "./mock-datasets.mjs";
import { MockFiles } from "./mock-files.mjs";
import { MockNotebooks } from "./mock-notebooks.mjs";
import { MockTensorBoards } from "./mock-tensorboards.mjs";

const GIB = 1024 ** 3;
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

/** Makes a box with data, or one on which nothing has happened yet. */
export function makeBox({ empty = false } = {}) {
  const box = new MockBox();
  if (!empty) box.fill();
  return box;
}

class MockBox {
  signInToken = "mock-token";
  signInSpent = false;
  session = { user: { id: "us1", name: "ada" }, team: { id: "te1", name: "Lovelace lab" }, scope: "admin", keyName: "admin", keyId: "ke1" };
  jobs = [];
  experiments = [];
  projects = [{ id: "pr1", name: "default", createdAt: ago(9e5) }];
  secrets = [];
  keys = [{ id: "ke1", name: "admin", scope: "admin", user: "ada", createdAt: ago(9e5), expiresAt: null, lastUsedAt: ago(3), revokedAt: null, current: true }];
  machineTypes = [
    { name: "cpu-small", cpuMillis: 2000, memoryBytes: 8 * GIB, gpus: 0, gpuModel: null, share: 1, aliases: ["C3"], default: true, availableNow: true, description: "" },
    { name: "cpu-large", cpuMillis: 16000, memoryBytes: 64 * GIB, gpus: 0, gpuModel: null, share: 1, aliases: ["C7", "C10"], default: false, availableNow: true, description: "" },
    { name: "gpu-1", cpuMillis: 8000, memoryBytes: 64 * GIB, gpus: 1, gpuModel: "NVIDIA H100 80GB HBM3", share: 1, aliases: ["H100", "A100"], default: false, availableNow: true, description: "" },
    { name: "gpu-2", cpuMillis: 16000, memoryBytes: 128 * GIB, gpus: 2, gpuModel: "NVIDIA H100 80GB HBM3", share: 1, aliases: ["A100x2"], default: false, availableNow: false, description: "" },
    { name: "gpu-4", cpuMillis: 32000, memoryBytes: 256 * GIB, gpus: 4, gpuModel: "NVIDIA H100 80GB HBM3", share: 1, aliases: [], default: false, availableNow: false, description: "" },
  ];
  logs = new Map();
  engine = { state: "ok", version: "28.1.1", message: null };
  data = new MockDatasets((kind, id, change) => this.emit(kind, id, change));
  notebooks = new MockNotebooks((kind, id, change) => this.emit(kind, id, change));
  boards = new MockTensorBoards((kind, id, change) => this.emit(kind, id, change), this);
  files = new MockFiles();
  refuseStreams = 0; // The status with which the event stream is refused; 0 for none.
  streams = new Set();
  #listeners = new Set();
  #logListeners = new Map();
  #timers = new Set();
  #runs = new Map(); // The timer of each submitted job.
  #sequence = 0;

  fill() {
    this.data.fill();
    this.projects.push({ id: "pr2", name: "vision", createdAt: ago(6e5) }, { id: "pr3", name: "speech-to-text", createdAt: ago(2e5) });
    this.secrets.push({ id: "se1", name: "HF_TOKEN", scope: "team", projectId: null, createdAt: ago(8e5), updatedAt: ago(4e4) }, { id: "se2", name: "S3_KEY", scope: "project", projectId: "pr2", createdAt: ago(8e4), updatedAt: ago(8e4) });
    this.keys.push({ id: "ke2", name: "laptop", scope: "write", user: "ada", createdAt: ago(3e5), expiresAt: ago(-6e6), lastUsedAt: ago(600), revokedAt: null, current: false }, { id: "ke3", name: "old ci", scope: "read", user: "grace", createdAt: ago(5e5), expiresAt: null, lastUsedAt: null, revokedAt: ago(1e4), current: false });
    const gpu = (index) => ({ uuid: `GPU-000${index}`, name: "NVIDIA H100 80GB HBM3", index });
    this.add({ id: "js9", name: "eval-large", state: "pending", phase: "queued", machineType: "gpu-4", command: "python eval.py --model large --split test", project: 2, tags: ["eval"], ago: 840, queue: { position: 1, reason: "needs 4 GPUs; 1 of 4 is free", expectedStart: ago(-11_400) } });
    this.add({ id: "js8", name: "resnet50-baseline", state: "running", phase: "running", machineType: "gpu-1", gpus: [gpu(0)], command: "python train.py --arch resnet50 --epochs 90 --batch-size 256", project: 2, tags: ["vision", "baseline"], ago: 3000, setup: 42, started: 2950, timeLimitSeconds: 14400, ports: [{ container: 6006, host: 16006, url: "http://127.0.0.1:16006/" }] });
    this.add({ id: "js7", name: "train-whisper", state: "running", phase: "running", machineType: "gpu-2", gpus: [gpu(2), gpu(3)], command: ["torchrun", "--nproc-per-node", "2", "train.py"], project: 3, user: "grace", ago: 9000, setup: 100, started: 8890 });
    this.add({ id: "js6", name: "pull-cuda", state: "pending", phase: "preparing", machineType: "gpu-1", command: "nvidia-smi", project: 1, ago: 35, progress: { what: "Pulling nvcr/cuda:12.8", doneBytes: 1.3 * GIB, totalBytes: 3.4 * GIB } });
    this.add({ id: "js5", name: "finetune-llama", state: "failed", machineType: "gpu-1", gpus: [gpu(1)], command: "python finetune.py --lr 2e-5", project: 2, tags: ["llm"], ago: 20000, setup: 61, started: 19900, ran: 742, exitCode: 137, reason: "oom", message: "The job used more than the 64 GiB of memory of gpu-1 and was ended.", attempt: 2, attempts: 3 });
    this.add({ id: "js4", name: "digits-sgd", state: "stopped", machineType: "cpu-small", command: "python digits.py", project: 1, tags: ["demo"], ago: 40000, setup: 3, started: 39990, ran: 214, exitCode: 0 });
    this.add({ id: "js3", name: "bad-image", state: "error", machineType: "cpu-small", image: "pyhton:3.12", command: "python -V", project: 1, ago: 70000, setup: 4, reason: "image_not_found", message: "The registry has no image pyhton:3.12." });
    this.add({ id: "js2", name: "long-sleep", state: "cancelled", machineType: "cpu-small", command: "sleep 86400", project: 1, ago: 90000, setup: 2, started: 89990, ran: 5300, exitCode: 143, reason: "cancelled" });
    for (let i = 0; i < 70; i += 1) this.add({ id: `jsold${i}`, name: `sweep-${70 - i}`, state: i % 9 === 4 ? "failed" : "stopped", exitCode: i % 9 === 4 ? 1 : 0, reason: i % 9 === 4 ? "exit_code" : null, machineType: "cpu-small", command: `python sweep.py --lr ${(0.001 * (i + 1)).toFixed(3)}`, project: 2, tags: ["sweep"], ago: 100000 + i * 900, setup: 2, started: 99990 + i * 900, ran: 60 + i });
    Object.assign(this.job("js8"), { datasets: [{ ref: "digits:stable", name: "digits", dataset: "dsdigits", version: "v2bbbbb", path: "/inputs/digits" }, { ref: "gradient/imagenet-mini", name: "imagenet-mini", dataset: "dsimgnet", version: "vimgnet", path: "/datasets/imagenet-mini" }], outputs: [{ ref: "digits", name: "cleaned", dataset: "dsdigits", version: null, state: "waiting", message: null }] });
    Object.assign(this.job("js5"), { datasets: [{ ref: "digits", name: "digits", dataset: "dsdigits", version: "v1aaaaa", path: "/inputs/digits" }], outputs: [{ ref: "digits", name: "digits", dataset: "dsdigits", version: "v3ccccc", state: "draft", message: "The job failed, so what it left is a draft." }] });
    for (const job of this.jobs) this.logs.set(job.id, job.id === "js8" ? trainingLog(4000) : job.startedAt ? trainingLog(260) : []);
    this.keep({ id: "ex3", name: "digits-sweep", project: 2, tags: ["sweep"], command: "python sweep.py", ago: 120 });
    this.keep({ id: "ex2", name: "resnet50", project: 2, tags: ["vision", "baseline"], machineType: "gpu-1", command: "python train.py --arch resnet50 --epochs 90", ago: 9e4, runs: ["js8", "js5", "js4"], modelType: "Tensorflow", modelPath: "/artifacts" });
    this.keep({ id: "ex1", name: "finetune", project: 2, machineType: "gpu-1", command: "python finetune.py --lr 2e-5", ago: 1e5, runs: ["jsold4"] });
    this.notebooks.fill();
    this.boards.fill();
    this.files.fill(PICTURE);
    for (const list of this.notebooks.sessions.values()) for (const session of list) this.logs.set(session.id, serverLog(session.id));
    for (const { session, lastLines } of this.boards.all) if (session?.startedAt) this.logs.set(session.id, boardLog(lastLines));
    this.#every(1000, () => this.write("js8"));
  }

  add({ id, name, state, phase = null, machineType, gpus = [], command, project, tags = [], user = "ada", image = "python:3.12-slim", exitCode = null, reason = null, message = null, queue = null, progress = null, attempt = 1, attempts = 1, ports = [], timeLimitSeconds = null, cloneOf = null, spec, ...times }) {
    const type = this.machineTypes.find((candidate) => candidate.name === machineType) ?? this.machineTypes[0];
    const { id: projectId, name: projectName } = this.projects[project - 1] ?? this.projects[0];
    const started = times.started ?? null;
    const finished = times.ran === undefined || started === null ? null : started - times.ran;
    const job = {
      id, name, project: { id: projectId, name: projectName }, user: { id: "us1", name: user }, state, phase, reason, message, contact: "ok", exitCode, image, command, machineType: type.name,
      resources: { cpuMillis: type.cpuMillis, memoryBytes: type.memoryBytes, gpus: type.gpus }, gpus, attempt, attempts, progress, queue, priority: 0, tags, timeLimitSeconds, cloneOf, ports,
      createdAt: ago(times.ago), setupStartedAt: times.setup ? ago(times.ago - 1) : null, setupFinishedAt: times.setup ? ago(times.ago - 1 - times.setup) : null,
      startedAt: started === null ? null : ago(started), finishedAt: finished === null ? (times.setup && !phase ? ago(times.ago - 6) : null) : ago(finished),
      teardownStartedAt: finished === null ? null : ago(finished), teardownFinishedAt: finished === null ? null : ago(finished - 2),
    };
    job.spec = spec ?? { image, command, name, project: projectName, machineType, env: { EPOCHS: "90", HF_TOKEN: "secret:HF_TOKEN" }, tags, ...(timeLimitSeconds ? { timeLimitSeconds } : {}) };
    this.jobs.push(job);
    return job;
  }

  job(id) {
    return this.jobs.find((job) => job.id === id) ?? this.notebooks.run(id) ?? this.boards.run(id);
  }

  listJobs(query) {
    const states = query.get("state")?.split(",");
    const text = query.get("q")?.toLowerCase();
    const fits = (job) =>
      (!states || states.includes(job.state)) && (!query.get("project") || query.get("project") === job.project.id) && (!query.get("experiment") || query.get("experiment") === job.experiment) && (!query.get("tag") || job.tags.includes(query.get("tag"))) && (!text || `${job.name} ${job.command} ${job.image}`.toLowerCase().includes(text));
    const all = this.jobs.filter(fits);
    const from = Number(query.get("cursor") ?? 0);
    const to = from + Number(query.get("limit") ?? 50);
    return { items: all.slice(from, to), next: to < all.length ? String(to) : null };
  }

  /** Keeps an experiment whose runs, latest first, are jobs that are there. */
  keep({ id, name, project, tags = [], machineType = "cpu-small", image = "python:3.12-slim", command, runs = [], modelType = null, modelPath = null, ago: age }) {
    const { id: projectId, name: projectName } = this.projects[project - 1];
    for (const run of runs) this.job(run).experiment = id;
    const spec = { image, command, name, project: projectName, machineType, env: { EPOCHS: "90" }, tags };
    this.experiments.push({ id, name, project: { id: projectId, name: projectName }, user: { id: "us1", name: "ada" }, tags, image, command, machineType, modelType, modelPath, createdAt: ago(age), spec });
  }

  experiment(id) {
    const kept = this.experiments.find((experiment) => experiment.id === id);
    if (!kept) return kept;
    const runs = this.jobs.filter((job) => job.experiment === id);
    const latest = runs[0] ?? null;
    return { ...kept, runs: runs.length, latestRun: latest, state: latest?.state ?? "created" };
  }

  listExperiments(query) {
    const fits = (experiment) => (!query.get("tag") || experiment.tags.includes(query.get("tag"))) && (!query.get("q") || experiment.name.includes(query.get("q")));
    return { items: this.experiments.filter(fits).map(({ id }) => this.experiment(id)), next: null };
  }

  startExperiment(id) {
    const kept = this.experiment(id);
    if (!kept) return kept;
    const run = this.submit({ ...kept.spec });
    run.experiment = id;
    this.emit("experiment", id, "started");
    return run;
  }

  stopExperiment(id) {
    const kept = this.experiment(id);
    if (kept?.latestRun) this.stop(kept.latestRun.id);
    return this.experiment(id);
  }

  /** A submitted job prints a line and a chart's point a few times a second until it is stopped. */
  submit(asked) {
    const spec = { ...this.job(asked.cloneOf)?.spec, ...asked };
    const id = `jsnew${this.jobs.length}`;
    const existing = this.projects.findIndex((project) => project.name === (spec.project ?? "default"));
    const at = existing >= 0 ? existing : this.projects.push({ id: `pr${this.projects.length + 1}`, name: spec.project, createdAt: ago(0) }) - 1;
    const job = this.add({ ...spec, id, name: spec.name ?? "quiet-river", state: "running", phase: "running", machineType: spec.machineType, project: at + 1, ago: 1, setup: 0.4, started: 0.5, ports: [], spec });
    this.jobs.unshift(this.jobs.pop());
    this.logs.set(id, []);
    this.emit("job", id, "created");
    let step = 0;
    this.#runs.set(id, this.#every(150, () => {
      step += 1;
      this.write(id, `step ${step}`);
      this.write(id, JSON.stringify({ chart: "loss", x: step, y: Number((1 / step).toFixed(4)) }));
    }));
    return job;
  }

  stop(id) {
    const job = this.job(id);
    if (!job || !job.phase) return job;
    clearInterval(this.#runs.get(id));
    Object.assign(job, { state: "cancelled", phase: null, reason: "cancelled", exitCode: 143, finishedAt: ago(0), teardownStartedAt: ago(0), teardownFinishedAt: ago(0) });
    for (const send of this.#logListeners.get(id) ?? []) send({ id: this.logs.get(id).length, event: "end", data: {} });
    this.emit("job", id, "state");
    return job;
  }

  write(id, text = trainingLine(this.logs.get(id).length)) {
    const rows = this.logs.get(id);
    const row = { line: rows.length, time: ago(0), stream: "stdout", text, partial: false };
    rows.push(row);
    for (const send of this.#logListeners.get(id) ?? []) send({ id: row.line, event: "line", data: row });
  }

  logPage(id, query) {
    const rows = this.logs.get(id) ?? [];
    const limit = Number(query.get("limit") ?? 1000);
    const text = query.get("q")?.toLowerCase();
    const ended = !this.job(id)?.phase;
    if (text) return { items: rows.filter((row) => row.text.toLowerCase().includes(text)).slice(0, limit), next: null, total: rows.length, ended };
    const start = query.has("tail") ? Math.max(0, rows.length - Number(query.get("tail"))) : Number(query.get("start") ?? 0);
    const items = rows.slice(start, start + limit);
    return { items, next: start + items.length < rows.length ? start + items.length : null, total: rows.length, ended };
  }

  logText(id) {
    return this.logs.get(id).map((row) => `${row.text}\n`).join("");
  }

  followLog(id, start, send) {
    const rows = this.logs.get(id) ?? [];
    for (const row of rows.slice(start)) send({ id: row.line, event: "line", data: row });
    if (!this.job(id)?.phase) send({ id: rows.length, event: "end", data: {} });
    const listeners = this.#logListeners.get(id) ?? new Set();
    this.#logListeners.set(id, listeners.add(send));
    return () => listeners.delete(send);
  }

  charts(id) {
    return [...this.#points(id)].map(([name, points]) => ({ name, source: "printed", points: points.length, last: points.at(-1) }));
  }

  chart(id, name) {
    const points = this.#points(id).get(name) ?? [];
    return { name, source: "printed", x: points.map(({ x }) => x), y: points.map(({ y }) => y), total: points.length };
  }

  #points(id) {
    const charts = new Map();
    for (const { text } of this.logs.get(id) ?? []) {
      if (!text.startsWith('{"chart"')) continue;
      const { chart, x, y } = JSON.parse(text);
      charts.set(chart, [...(charts.get(chart) ?? []), { x, y }]);
    }
    return charts;
  }

  metrics(id) {
    const job = this.job(id);
    if (!job.startedAt) return { series: [] };
    const start = Math.floor(Date.parse(job.startedAt) / 1000);
    const t = Array.from({ length: 240 }, (_, i) => start + i * 10);
    const series = (name, unit, value, gpu = null) => ({ name, unit, gpu, t, v: t.map((_, i) => value(i)) });
    const wave = (i, phase) => Math.sin(i / 9 + phase) * 0.5 + Math.sin(i / 2.3 + phase) * 0.2;
    return {
      series: [
        series("cpuPercentage", "percent", (i) => 520 + wave(i, 0) * 140),
        series("memoryUsage", "bytes", (i) => (12 + Math.min(i / 12, 14) + wave(i, 1)) * GIB),
        series("memoryLimit", "bytes", () => 64 * GIB),
        series("networkReceived", "bytes", (i) => i * 4e6 + wave(i, 2) * 6e6 + 1e7),
        series("networkSent", "bytes", (i) => i * 4e5),
        series("blockRead", "bytes", (i) => i * 9e7 + wave(i, 1) * 9e7 + 1e8),
        series("blockWritten", "bytes", (i) => i * 1e6),
        ...job.gpus.flatMap(({ uuid }, n) => [
          series("gpuUtilization", "percent", (i) => Math.min(100, 91 + wave(i, n) * 12), uuid),
          series("gpuMemoryUsed", "bytes", (i) => (58 + n * 4 + Math.min(i / 30, 3)) * GIB, uuid),
          series("gpuMemoryTotal", "bytes", () => 80 * GIB, uuid),
          series("gpuTemp", "celsius", (i) => Math.round(58 + n * 3 + Math.min(i / 10, 9) + wave(i, 3)), uuid),
          series("gpuPowerDraw", "watts", (i) => 560 + n * 20 + wave(i, 4) * 70, uuid),
        ]),
      ],
    };
  }

  artifacts(path) {
    const item = (name, kind, sizeBytes = 0) => ({ path: path ? `${path}/${name}` : name, name, kind, sizeBytes, modifiedAt: ago(400) });
    if (path) return { items: [item("epoch-010.pt", "file", 97_800_000), item("epoch-020.pt", "file", 97_800_000), item("latest.pt", "link")], next: null };
    return { items: [item("checkpoints", "directory"), item("model.safetensors", "file", 102_500_000), item("metrics.json", "file", 1840), item("confusion.png", "file", 88_211)], next: null };
  }

  projectItems() {
    return this.projects.map((project) => {
      const jobs = this.jobs.filter((job) => job.project.id === project.id);
      return { ...project, jobs: { total: jobs.length, active: jobs.filter((job) => job.phase).length } };
    });
  }

  makeProject(name) {
    const project = { id: `pr${this.projects.length + 1}`, name, createdAt: ago(0) };
    this.projects.push(project);
    this.emit("project", project.id, "created");
    return { ...project, jobs: { total: 0, active: 0 } };
  }

  renameProject(id, name) {
    const project = this.projects.find((candidate) => candidate.id === id);
    if (project) project.name = name;
    return project && this.projectItems().find((item) => item.id === id);
  }

  putSecret({ name, project = null }) {
    let secret = this.secrets.find((known) => known.name === name && known.projectId === project);
    if (!secret) this.secrets.push((secret = { id: `se${this.secrets.length + 9}`, name, scope: project ? "project" : "team", projectId: project, createdAt: ago(0) }));
    secret.updatedAt = ago(0);
    this.emit("secret", secret.id, "created");
    return secret;
  }

  makeKey({ name, scope, expiresInSeconds }) {
    const key = { id: `ke${this.keys.length + 9}`, name, scope, user: "ada", createdAt: ago(0), expiresAt: expiresInSeconds ? ago(-expiresInSeconds) : null, lastUsedAt: null, revokedAt: null, current: false };
    this.keys.unshift(key);
    return { ...key, key: "gdk_7Hq2vXk9mZt4LwPb8RnYc3JdFs6GaEu1" };
  }

  revoke(id) {
    const key = this.keys.find((candidate) => candidate.id === id);
    if (key) key.revokedAt = ago(0);
  }

  drop(kind, id) {
    const list = { job: "jobs", secret: "secrets", experiment: "experiments" }[kind];
    this[list] = this[list].filter((item) => item.id !== id);
    this.emit(kind, id, "deleted");
  }

  facts() {
    const count = (...states) => this.jobs.filter((job) => states.includes(job.state)).length;
    return {
      hostname: "atlas", version: "0.1.0", cpu: { cores: 64, usedPercent: 37, allocatedMillis: this.jobs.length ? 24000 : 0, capacityMillis: 62000 },
      memory: { totalBytes: 512 * GIB, usedBytes: 143 * GIB, allocatedBytes: this.jobs.length ? 192 * GIB : 0, capacityBytes: 500 * GIB }, disk: { path: "/var/lib/gradientd", totalBytes: 3800 * GIB, freeBytes: 1210 * GIB, state: "ok" },
      engine: this.engine, gpu: this.jobs.length ? { count: 4, free: 1, unavailable: null } : { count: 0, free: 0, unavailable: "The NVIDIA library is not installed." }, jobs: { pending: count("pending"), running: count("running"), finished: count("stopped", "failed", "error", "cancelled") }, loops: [],
    };
  }

  gpus() {
    const gpu = (index, use, used, extra) => ({ uuid: `GPU-000${index}`, index, name: "NVIDIA H100 80GB HBM3", memoryBytes: 80 * GIB, kind: "whole", parent: null, migProfile: null, numaNode: index >> 1, pciBusId: `0000:0${index}:00.0`, health: "healthy", healthReason: null, utilizationPercent: use, memoryUsedBytes: used * GIB, temperatureCelsius: 38 + use / 3, powerWatts: 90 + use * 5.6, powerLimitWatts: 700, holders: [], foreign: [], avoided: false, ...extra });
    const items = [
      gpu(0, 96, 61, { temperatureCelsius: 68, holders: [{ kind: "job", jobId: "js8", notebookId: null, tensorboardId: null, name: "resnet50-baseline", user: "ada", own: true }] }),
      gpu(1, 18, 22, { temperatureCelsius: 44, avoided: true, foreign: [{ pid: 4411, user: "root", command: "python3 -m vllm.entrypoints.openai.api_server --model mistral", memoryBytes: 22 * GIB }] }),
      gpu(2, 99, 74, { temperatureCelsius: 71, holders: [{ kind: "job", jobId: "js7", notebookId: null, tensorboardId: null, name: "train-whisper", user: "grace", own: true }] }),
      gpu(3, 97, 74, { temperatureCelsius: 70, holders: [{ kind: "job", jobId: "js7", notebookId: null, tensorboardId: null, name: "train-whisper", user: "grace", own: true }] }),
    ];
    return { items: this.jobs.length ? items : [], next: null, driverVersion: this.jobs.length ? "570.86.10" : null, cudaVersion: this.jobs.length ? "12.8" : null, unavailable: this.jobs.length ? null : "The NVIDIA library is not installed.", links: [{ a: "GPU-0000", b: "GPU-0001", link: "nvlink:18" }, { a: "GPU-0002", b: "GPU-0003", link: "nvlink:18" }, { a: "GPU-0000", b: "GPU-0002", link: "system" }] };
  }

  /** Who holds a place or waits for one: jobs, and the sessions of notebooks and TensorBoards. */
  runs() {
    const of = (kind, field) => (one) => {
      const type = this.machineTypes.find(({ name }) => name === one.machineType);
      return { kind, jobId: one.session.id, notebookId: null, tensorboardId: null, [field]: one.id, name: one.name, user: one.user.name, own: true, state: one.state, phase: one.phase, queue: one.queue, machineType: one.machineType, resources: type, gpus: one.session.gpus, startedAt: one.session.startedAt, createdAt: one.session.createdAt, until: one.session.shutsDownAt, idleAt: one.session.idleAt };
    };
    const until = (job) => (job.timeLimitSeconds && job.startedAt ? new Date(Date.parse(job.startedAt) + job.timeLimitSeconds * 1000).toISOString() : null);
    const live = (one) => one.session && one.phase;
    return [
      ...this.jobs.filter(({ phase }) => phase).map((job) => ({ kind: "job", jobId: job.id, notebookId: null, tensorboardId: null, name: job.name, user: job.user.name, own: job.own ?? true, state: job.state, phase: job.phase, queue: job.queue, machineType: job.machineType, resources: job.resources, gpus: job.gpus, startedAt: job.startedAt, createdAt: job.createdAt, until: until(job), idleAt: null })),
      ...this.notebooks.all.map(({ id }) => this.notebooks.find(id)).filter(live).map(of("notebook", "notebookId")),
      ...this.boards.all.filter(live).map(of("tensorboard", "tensorboardId")),
    ];
  }

  queue() {
    const name = ({ kind, jobId, notebookId, tensorboardId, name, user, own }) => ({ kind, jobId, notebookId, tensorboardId, name, user, own });
    const runs = this.runs();
    const running = runs.filter(({ state }) => state === "running");
    const waiting = runs.filter(({ phase }) => phase === "queued").toSorted((a, b) => (a.queue?.position ?? 0) - (b.queue?.position ?? 0));
    return {
      items: waiting.map((run, i) => ({ ...name(run), machineType: run.machineType, ...this.place(run), position: i + 1, needs: run.resources, since: run.createdAt })),
      running: running.map((run) => ({ ...name(run), gpus: run.gpus, cpuMillis: run.resources.cpuMillis, memoryBytes: run.resources.memoryBytes, startedAt: run.startedAt, until: run.until, idleAt: run.idleAt })),
    };
  }

  /** The place of one that waits, with who holds what it needs, as its own page has it. */
  place({ jobId, queue, resources }) {
    const blocks = ({ kind, jobId: id, notebookId, tensorboardId, name, user, own, gpus, until, idleAt }) => ({ kind, jobId: id, notebookId, tensorboardId, name, user, own, gpus, until, idleAt, waits: false });
    const heldBy = this.runs().filter((run) => run.jobId !== jobId && run.state === "running" && (!resources.gpus || run.gpus.length)).map(blocks);
    return { reason: "", expectedStart: null, expectedIfIdle: null, ...queue, heldBy };
  }

  /** One of the API's views with its place in the queue, where it waits. */
  placed(view) {
    const run = view?.queue && this.runs().find(({ jobId }) => jobId === (view.session?.id ?? view.id));
    return run ? { ...view, queue: this.place(run) } : view;
  }

  subscribe(send) {
    this.#listeners.add(send);
    return () => this.#listeners.delete(send);
  }

  emit(kind, id, change) {
    this.#sequence += 1;
    for (const send of this.#listeners) send({ id: this.#sequence, event: kind, data: { kind, id, change, state: this.job(id)?.state, at: ago(0) } });
  }

  #every(millis, tick) {
    const timer = setInterval(tick, millis);
    this.#timers.add(timer);
    return timer;
  }

  close() {
    for (const timer of this.#timers) clearInterval(timer);
  }
}

function trainingLog(lines) {
  return Array.from({ length: lines }, (_, line) => ({ line, time: ago((lines - line) * 0.7), stream: line % 23 === 7 ? "stderr" : "stdout", text: trainingLine(line), partial: false }));
}

function serverLog(id) {
  const lines = ["jupyterlab | extension was successfully linked.", "Writing Jupyter server cookie secret to /root/.local/share/jupyter/runtime", "Serving notebooks from local directory: /notebooks", `Jupyter Server is running at http://localhost:8888/w/${id}/lab`, "Use Control-C to stop this server and shut down all kernels."];
  return lines.map((text, line) => ({ line, time: ago(60 - line), stream: "stderr", text: `[I 2026-01-01 10:00:0${line}.120 ServerApp] ${text}`, partial: false }));
}

function boardLog(lastLines) {
  const lines = lastLines.length ? lastLines : ["NOTE: Using experimental fast data loading logic.", "TensorBoard 2.19.0 at http://0.0.0.0:6006/ (Press CTRL+C to quit)"];
  return lines.map((text, line) => ({ line, time: ago(60 - line), stream: "stderr", text, partial: false }));
}

function trainingLine(line) {
  if (line === 0) return "\x1b[1mLoading CIFAR-10\x1b[0m from \x1b[36m/storage/datasets/cifar10\x1b[0m";
  if (line % 23 === 7) return `\x1b[33mwarning\x1b[0m: gradient norm \x1b[1;31m${(line * 0.013).toFixed(2)}\x1b[0m clipped to 1.0`;
  if (line % 10 === 5) return ["12%|█▏        | 24/196", "58%|█████▊    | 114/196", `100%|\x1b[32m██████████\x1b[0m| 196/196 [00:07<00:00, 27.9it/s]`].map((state) => `epoch ${line}: ${state}`).join("\r");
  if (line % 5 === 1) return JSON.stringify({ chart: "loss", x: line, y: 0.18 + 2.1 * Math.exp(-line / 600) + Math.sin(line * 12.9) * 0.04 });
  if (line % 5 === 2) return JSON.stringify({ chart: "accuracy", x: line, y: 0.93 - 0.82 * Math.exp(-line / 700) + Math.sin(line * 7.7) * 0.01 });
  return `epoch ${Math.floor(line / 40)} step ${line} lr 1.0e-03 \x1b[90m${(27 + Math.sin(line)).toFixed(1)} it/s\x1b[0m images 256 cuda:0 \x1b[38;5;208mamp\x1b[0m`;
}
