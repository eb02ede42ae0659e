// The mock's TensorBoards: invented ones in every state, and the few verbs that change them.
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const ahead = (seconds) => ago(-seconds);
const GIB = 1024 ** 3;
const IMAGE = "tensorflow/tensorflow:latest";
const LIVE = ["pending", "provisioned", "running"];

export class MockTensorBoards {
  all = [];
  keys = []; // The Idempotency-Key of each creation.
  passwords = new Map(); // Id → the registry password that it was given last, which is not shown again.

  constructor(emit, box) {
    this.emit = emit;
    this.box = box;
  }

  fill() {
    const running = { state: "running", phase: "running" };
    const member = (kind, id, name, facts = {}) => ({ name, kind, id, title: name, path: kind === "notebook" ? "" : null, version: null, ref: null, gone: false, message: null, addedAt: ago(4e4), ...facts });
    this.add({
      id: "tb4kq0z81xwp", name: "resnet-sweep", ...running, ready: true, project: 2, ago: 9e4, started: 3000, looked: 240, members: [
        member("experiment", "ex2", "resnet50"),
        member("job", "js8", "baseline", { title: "resnet50-baseline" }),
        member("notebook", "n4kq0z81", "train-digits", { path: "runs/lr-0.1" }),
        member("dataset", "dsdigits", "digits", { version: "v2bbbbb", ref: "digits:stable" }),
        member("job", "jsgone000001", "warm-up", { title: null, gone: true, message: "job jsgone000001 was deleted", addedAt: ago(8e4) }),
        member("experiment", "ex3", "digits-sweep", { message: "experiment ex3 has no runs yet: they are shown when it is started" }),
      ],
    });
    this.add({ id: "tbstarting00", name: "whisper", ...running, ready: false, user: "grace", ago: 20, started: 4, members: [member("job", "js7", "train-whisper")] });
    this.add({ id: "tbprepare000", name: "first-look", state: "pending", phase: "preparing", ago: 30, progress: { what: `pulling ${IMAGE}`, doneBytes: 0.4 * GIB, totalBytes: 0.9 * GIB }, members: [member("job", "js4", "digits-sgd")] });
    this.add({ id: "tbqueued0000", name: "crowded", state: "pending", phase: "queued", ago: 90, queue: { position: 3, reason: "needs 2 cores; 0 of 62 are free", expectedIfIdle: ahead(1560) }, members: [member("job", "js4", "digits-sgd")] });
    this.add({ id: "tbstopped000", name: "digits", state: "stopped", ago: 2e5, started: 9e4, ran: 5400, looked: 86_400, message: "stopped because nobody looked at it for 30 min: open it, and it starts again", members: [member("dataset", "dsdigits", "digits", { version: "v1aaaaa", ref: "digits:v1aaaaa" })] });
    this.add({ id: "tbfailed0000", name: "own-image", state: "failed", image: "python:3.12-slim", ago: 3e5, started: 2e5, ran: 2, message: "its image has no TensorBoard in it (exit code 127): take one that has, or have an admin set tensorboards.image", lastLines: ["/bin/sh: 1: exec: tensorboard: not found"], members: [member("job", "js5", "finetune-llama")] });
    this.add({ id: "tbempty00000", name: "empty", state: "created", idleSeconds: null, ago: 15 });
  }

  add({ id, name, project = 1, user = "ada", image = IMAGE, registryUsername = null, machineType = "cpu-small", idleSeconds = 1800, state = "created", phase = null, ready = false, message = null, queue = null, progress = null, members = [], lastLines = [], ago: age = 0, started, ran, looked }) {
    const { id: projectId, name: projectName } = this.box.projects[project - 1];
    const session = state === "created" ? null : {
      id: `js${id}`, state, exitCode: state === "failed" ? 127 : null, gpus: [], startedAt: started ? ago(started) : null, finishedAt: ran ? ago(started - ran) : null, readyAt: ready ? ago(started - 3) : null,
      shutsDownAt: null, idleAt: ready && idleSeconds ? ahead(idleSeconds - looked) : null, activity: looked ? { at: ago(looked), what: "somebody looked at it" } : null, createdAt: ago(started ?? age),
    };
    const board = { id, name, project: { id: projectId, name: projectName }, user: { id: user === "ada" ? "us1" : "us2", name: user }, state, phase, ready, message, problem: null, contact: "ok", image, registryUsername, registryPassword: null, machineType, idleSeconds, progress, queue, session, createdAt: ago(age), members, lastLines };
    this.all.push(board);
    return board;
  }

  board(id) {
    return this.all.find((candidate) => candidate.id === id);
  }

  detail(id) {
    const board = this.board(id);
    if (!board) return undefined;
    const members = board.members.map((member) => ({ ...member, state: this.#stateOf(member) }));
    return { ...board, members, memberCount: members.length };
  }

  /** Where the run stands that a member shows. */
  #stateOf({ kind, id, gone }) {
    if (gone || !["job", "experiment"].includes(kind)) return null;
    return (kind === "job" ? this.box.job(id) : this.box.experiment(id))?.state ?? "created";
  }

  list(query) {
    const [states, text, project, member] = [query.get("state")?.split(","), query.get("q"), query.get("project"), query.get("member")];
    const fits = (one) => (!states || states.includes(one.state)) && (!text || one.name.includes(text) || one.id.includes(text)) && (!project || one.project.id === project) && (!member || one.members.some(({ id }) => id === member));
    return { items: this.all.filter(fits).map(({ members, lastLines, ...view }) => ({ ...view, memberCount: members.length })), next: null };
  }

  create({ name = "tensorboard", project, members = [], registryPassword, ...spec }) {
    const at = this.box.projects.findIndex((known) => known.id === project || known.name === project);
    const board = this.add({ ...spec, id: `tbmade${String(this.all.length).padStart(6, "0")}`, name, project: at + 1 || 1 });
    board.members = members;
    this.#keep(board, registryPassword);
    this.all.unshift(this.all.pop());
    this.emit("tensorboard", board.id, "created");
    return this.detail(board.id);
  }

  /** A password that names a secret is read back, another is not; without a user name there is none. */
  #keep(board, password) {
    if (password) {
      this.passwords.set(board.id, password);
      board.registryPassword = password.startsWith("secret:") ? password : null;
    }
    if (!board.registryUsername) board.registryPassword = null;
  }

  change(id, { registryPassword, ...changes }) {
    const board = this.board(id);
    Object.assign(board, changes);
    this.#keep(board, registryPassword);
    board.image ??= IMAGE;
    board.machineType ??= "cpu-small";
    board.problem = null;
    this.emit("tensorboard", id, "changed");
    return this.detail(id);
  }

  /** A start waits for `answer`, as TensorBoard takes its time. */
  start(id) {
    const board = this.board(id);
    if (!board.phase) {
      board.session = { id: `js${id}s`, state: "running", exitCode: null, gpus: [], startedAt: ago(0), finishedAt: null, readyAt: null, shutsDownAt: null, idleAt: null, activity: null, createdAt: ago(0) };
      Object.assign(board, { state: "running", phase: "running", ready: false, message: null, lastLines: [] });
      this.emit("tensorboard", id, "state");
    }
    return this.detail(id);
  }

  /** It answers from now on. */
  answer(id) {
    const board = this.board(id);
    board.ready = true;
    Object.assign(board.session, { readyAt: ago(0), activity: { at: ago(0), what: "somebody looked at it" }, idleAt: board.idleSeconds ? ahead(board.idleSeconds) : null });
    this.emit("tensorboard", id, "ready");
  }

  stop(id) {
    const board = this.board(id);
    if (board.phase) Object.assign(board.session, { state: "cancelled", finishedAt: ago(0), idleAt: null });
    Object.assign(board, { state: "stopped", phase: null, ready: false });
    this.emit("tensorboard", id, "state");
    return this.detail(id);
  }

  remove(id) {
    this.all = this.all.filter((candidate) => candidate.id !== id);
    this.emit("tensorboard", id, "deleted");
  }

  /**
   * Reads members as they are asked for, beside those that are there: the members, or what is wrong as
   * the daemon says it.
   */
  read(asked, present = []) {
    const made = [];
    for (const [i, { name, job, experiment, notebook, path = "", dataset }] of asked.entries()) {
      const refuse = (status, code, detail, part) => ({ refused: [status, code, detail, part && `members[${i}].${part}`] });
      if (name?.includes("/")) return refuse(422, "bad_name", `“${name}” has a “/” or a control character in it, or is “.” or “..”: it is the name of one directory`, "name");
      if (path.includes("..")) return refuse(422, "bad_path", `“${path}” leads out of it`, "path");
      const found = job ? { kind: "job", one: this.box.job(job) } : experiment ? { kind: "experiment", one: this.box.experiment(experiment) } : notebook ? { kind: "notebook", one: this.box.notebooks.find(notebook) } : { kind: "dataset", one: this.#version(dataset) };
      if (!found.one) return refuse(404, `${found.kind}_not_found`, `there is no ${found.kind} ${job ?? experiment ?? notebook ?? dataset}`);
      const { id, title = found.one.name, version = null } = found.one;
      const member = { name: name ?? title, kind: found.kind, id, title, path: notebook ? path : null, version, ref: dataset ?? null, gone: false, message: null, addedAt: ago(0) };
      const same = [...present, ...made].find((other) => other.id === id && other.path === member.path && other.version === version);
      if (same) return refuse(409, "already_member", `${member.kind} ${id} is a member already, as “${same.name}”`);
      if (name && [...present, ...made].some((other) => other.name === name)) return refuse(409, "name_taken", `a member is called “${name}” already: give it another name`);
      made.push(member);
    }
    return { made };
  }

  #version(reference) {
    const [name, word = "latest"] = reference.replace(/^gradient\//, "").split(":");
    const dataset = this.box.data.datasets.find((known) => known.name === name || known.id === name);
    const committed = dataset && this.box.data.versionsOf(dataset.id).filter(({ state }) => state === "committed");
    const version = committed?.find((one) => one.version === word || one.tags.includes(word)) ?? (word === "latest" ? committed?.[0] : undefined);
    return version && { id: dataset.id, title: dataset.name, version: version.version };
  }

  /** A session as the log of a run finds it. */
  run(id) {
    const session = this.all.map((board) => board.session).find((candidate) => candidate?.id === id);
    return session && { ...session, phase: session.finishedAt ? null : "running" };
  }
}

/** The routes of TensorBoards, for the mock's table; opening one starts it. */
export function tensorboardRoutes({ json, none, problem }) {
  const id = "(tb[^/]+)";
  const of = (box) => box.boards;
  /** Hands the handler a board that is there, or answers 404. */
  const known = (handle) => (call) => (of(call.box).board(call.args[0]) ? handle(call) : problem(call.response, 404, "tensorboard_not_found", `There is no TensorBoard ${call.args[0]}.`));
  const wrong = (response, { refused: [status, code, detail, field] }) => problem(response, status, code, detail, field);
  return [
    ["GET", /^\/tensorboards$/, ({ box, response, query }) => json(response, 200, of(box).list(query))],
    ["POST", /^\/tensorboards$/, create],
    ["GET", /^\/tensorboards\/([^/]+)$/, known(({ box, response, args }) => json(response, 200, box.placed(of(box).detail(args[0]))))],
    ["PATCH", new RegExp(`^/tensorboards/${id}$`), known(change)],
    ["DELETE", new RegExp(`^/tensorboards/${id}$`), known(({ box, response, args }) => (of(box).board(args[0]).phase ? problem(response, 409, "tensorboard_running", `TensorBoard ${args[0]} is not stopped: stop it first, and wait for it to end`) : none(response, of(box).remove(args[0]))))],
    ["POST", new RegExp(`^/tensorboards/${id}/start$`), known(({ box, response, args }) => json(response, 200, of(box).start(args[0])))],
    ["POST", new RegExp(`^/tensorboards/${id}/stop$`), known(({ box, response, args }) => json(response, 200, of(box).stop(args[0])))],
    ["POST", new RegExp(`^/tensorboards/${id}/members$`), known(addMembers)],
    ["DELETE", new RegExp(`^/tensorboards/${id}/members/([^/]+)$`), known(removeMember)],
    ["POST", new RegExp(`^/workloads/${id}/open$`), known(open)],
  ];

  function create({ box, request, response, body }) {
    const spec = JSON.parse(body);
    if (spec.image?.includes(" ")) return problem(response, 422, "bad_image", `“${spec.image}” names no image`, "image");
    const { made, ...refused } = of(box).read(spec.members ?? []);
    if (!made) return wrong(response, refused);
    of(box).keys.push(request.headers["idempotency-key"]);
    return json(response, 201, of(box).create({ ...spec, members: made }));
  }

  function change({ box, response, args, body }) {
    const changes = JSON.parse(body);
    if (changes.image?.includes(" ")) return problem(response, 422, "bad_image", `“${changes.image}” names no image`, "image");
    return json(response, 200, of(box).change(args[0], changes));
  }

  function addMembers({ box, response, args, body }) {
    const board = of(box).board(args[0]);
    const { made, ...refused } = of(box).read(JSON.parse(body).members, board.members);
    if (!made) return wrong(response, refused);
    board.members = [...board.members, ...made];
    return json(response, 200, of(box).change(args[0], {}));
  }

  function removeMember({ box, response, args }) {
    const board = of(box).board(args[0]);
    if (!board.members.some(({ name }) => name === args[1])) return problem(response, 404, "member_not_found", `it has no member “${args[1]}”`);
    board.members = board.members.filter(({ name }) => name !== args[1]);
    return json(response, 200, of(box).change(args[0], {}));
  }

  /** What is opened is a page of the mock itself, which tells where one came to. */
  function open({ box, request, response, args }) {
    of(box).start(args[0]);
    return json(response, 200, { url: `http://${request.headers.host}/w/${args[0]}/?gradientd-ticket=gdt_mock`, expiresInSeconds: 60 });
  }
}
