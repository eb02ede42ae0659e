// The mock's routes of datasets and storage; `answers` are the mock's own ways to reply.

/** Routes as [method, pattern, handle]. */
export function datasetRoutes({ json, none, known, problem }) {
  const D = "/datasets/([^/]+)";
  const V = `${D}/versions/([^/]+?)`;
  const at = (pattern) => new RegExp(`^${pattern}$`);
  const items = (response, list) => json(response, 200, { items: list, next: null });

  /** Hands the handler the version that the path names, or answers 404. */
  const ofVersion = (handle) => (call) => {
    const one = call.box.data.version(call.args[0], call.args[1]);
    return one ? handle({ ...call, one }) : problem(call.response, 404, "version_not_found", `${call.args[0]} has no version ${call.args[1]}.`);
  };
  const ofDataset = (handle) => (call) => {
    const dataset = call.box.data.dataset(call.args[0]);
    return dataset ? handle({ ...call, dataset }) : problem(call.response, 404, "dataset_not_found", `There is no dataset ${call.args[0]}.`);
  };
  const inUse = (call, one) => one.facts.version === "v2bbbbb" && call.query.get("force") !== "true" && problem(call.response, 409, "in_use", "The running jobs resnet50-baseline and train-whisper read this version, and it is tagged stable and paper.");

  return [
    ["GET", at("/datasets"), ({ box, response, query }) => items(response, box.data.list(query.get("q")))],
    ["POST", at("/datasets"), ({ box, response, body }) => createDataset(box, response, JSON.parse(body))],
    ["GET", at(D), ofDataset(({ box, response, dataset }) => json(response, 200, box.data.view(dataset)))],
    ["PATCH", at(D), ofDataset(({ box, response, dataset, body }) => json(response, 200, box.data.view(Object.assign(dataset, JSON.parse(body)))))],
    ["DELETE", at(D), ofDataset(({ box, response, dataset }) => none(response, box.data.removeDataset(dataset)))],
    ["GET", at(`${D}/lineage`), ofDataset(({ box, response, args }) => json(response, 200, box.data.lineage(args[0], box.jobs)))],
    ["PUT", at(`${D}/tags/([^/]+)`), ({ box, response, args, body }) => json(response, 200, box.data.setTag(args[0], args[1], JSON.parse(body).version) ?? {})],
    ["DELETE", at(`${D}/tags/([^/]+)`), ({ box, response, args }) => none(response, box.data.setTag(args[0], args[1], null))],
    ["GET", at(`${D}/versions`), ofDataset(({ box, response, args }) => items(response, box.data.versionsOf(args[0])))],
    ["POST", at(`${D}/versions`), ofDataset(({ box, response, args, body }) => json(response, 201, JSON.parse(body).from ? box.data.beginFrom(args[0], JSON.parse(body)) : box.data.begin(args[0], JSON.parse(body))))],
    ["POST", at(`${V}/commit`), ofVersion(({ box, response, one }) => json(response, 200, box.data.commit(one)))],
    ["GET", at(`${V}/lineage`), ofVersion(versionLineage)],
    ["GET", at(`${V}/diff`), ofVersion(({ box, response, args, query, one }) => json(response, 200, box.data.diff(one, box.data.version(args[0], query.get("against").split(":")[1]), Number(query.get("limit")), query.get("cursor"))))],
    ["GET", at(`${V}/files`), ofVersion(({ box, response, query, one }) => json(response, 200, box.data.files(one, { prefix: query.get("prefix") ?? "", recursive: query.get("recursive") === "true", limit: Number(query.get("limit") ?? 50), cursor: query.get("cursor") })))],
    ["GET", at(`${V}/files/(.+)`), ofVersion(file)],
    ["PUT", at(`${V}/files/(.+)`), ofVersion(putFile)],
    ["DELETE", at(`${V}/files/(.+)`), ofVersion(({ box, response, args, one }) => none(response, box.data.removeFile(one, args[2])))],
    ["GET", at(`${V}/multipart`), ofVersion(({ box, response, args }) => items(response, box.data.multipartOf(args[0], args[1])))],
    ["POST", at(`${V}/multipart`), ofVersion(({ box, response, args, body }) => json(response, 201, box.data.beginMultipart(args[0], args[1], JSON.parse(body).path)))],
    ["PUT", at(`${V}/multipart/([^/]+)/(\\d+)`), ofVersion(putPart)],
    ["POST", at(`${V}/multipart/([^/]+)/complete`), ofVersion(({ box, response, args, one }) => json(response, 200, { ...box.data.complete(one, args[2]), content: undefined }))],
    ["DELETE", at(`${V}/multipart/([^/]+)`), ({ box, response, args }) => none(response, box.data.multipart.delete(args[2]))],
    ["POST", at(`${V}/signed-urls`), ofVersion(({ response, args, body }) => json(response, 200, { urls: JSON.parse(body).calls.map(({ method, path }) => ({ method, path, url: `/api/v1/signed/${args[0]}/${args[1]}/${path}?expires=1&user=us1&signature=abc`, expiresAt: new Date(Date.now() + 8.64e7).toISOString() })) }))],
    ["GET", at(`${V}/imports`), ofVersion(({ box, response, one }) => items(response, box.data.imports.filter(({ version }) => version === one.facts.version)))],
    ["POST", at(`${V}/imports`), ofVersion(startImport)],
    ["GET", at("/imports"), ({ box, response, query }) => items(response, box.data.imports.filter(({ source, state }) => source.root === query.get("root") && state === "running").map((item) => box.data.importView(item)))],
    ["GET", at("/imports/([^/]+)"), ({ box, response, args }) => json(response, 200, box.data.importView(box.data.imports.find(({ id }) => id === args[0])))],
    ["DELETE", at("/imports/([^/]+)"), ({ box, response, args }) => none(response, box.data.cancelImport(args[0]))],
    ["GET", at(V), ofVersion(({ response, one }) => json(response, 200, one.facts))],
    ["PATCH", at(V), ofVersion(({ response, one, body }) => json(response, 200, Object.assign(one.facts, JSON.parse(body))))],
    ["DELETE", at(V), ofVersion((call) => inUse(call, call.one) || none(call.response, call.box.data.removeVersion(call.one)))],
    ["GET", at("/storage-providers"), ({ box, response }) => items(response, box.data.providers)],
    ["POST", at("/storage-providers"), ({ box, response, body }) => addProvider(box, response, JSON.parse(body))],
    ["POST", at("/storage-providers/([^/]+)/check"), ({ box, response, args }) => known(response, Object.assign(box.data.providers.find(({ id }) => id === args[0]), { checkedAt: new Date().toISOString() }))],
    ["DELETE", at("/storage-providers/([^/]+)"), ({ box, response, args }) => (box.data.datasets.some(({ storageProvider }) => storageProvider.id === args[0]) ? problem(response, 409, "in_use", "The dataset corpus lies on it. Delete the dataset first.") : none(response, (box.data.providers = box.data.providers.filter(({ id }) => id !== args[0]))))],
    ["GET", at("/storage"), ({ box, response }) => json(response, 200, box.data.storage())],
    ["GET", at("/storage/gc"), ({ box, response }) => json(response, 200, box.data.gc)],
    ["POST", at("/storage/gc"), ({ box, response, body }) => json(response, 200, box.data.clean(JSON.parse(body).dryRun))],
    ["GET", at("/storage/fsck"), ({ box, response }) => json(response, 200, box.data.lookAtCheck())],
    ["POST", at("/storage/fsck"), ({ box, response }) => json(response, 202, (box.data.fsck = { running: true, doneBytes: 0, totalBytes: 412 * 1024 ** 3, checkedFiles: 0, damaged: [], mended: [], startedAt: new Date().toISOString(), finishedAt: null }))],
  ];

  function createDataset(box, response, asked) {
    if (!/^[\w.-]+$/.test(asked.name)) return problem(response, 422, "bad_name", "A dataset's name holds letters, digits, dots, dashes and underscores only.", "name");
    if (box.data.dataset(asked.name)) return problem(response, 409, "name_taken", `There is a dataset ${asked.name} already.`, "name");
    return json(response, 201, box.data.create(asked));
  }

  function versionLineage({ box, response, one }) {
    const { version, parent, madeBy, dataset } = one.facts;
    const job = (id) => ({ job: id, name: box.job(id)?.name ?? id, state: box.job(id)?.state ?? null });
    const children = box.data.versionsOf(dataset.id).filter((other) => other.parent === version).map((other) => other.version);
    const madeFrom = version === "v2bbbbb" ? [{ root: "n4kq0z81", name: "train-digits", words: "/notebooks of train-digits (n4kq0z81): “data”" }] : [];
    const readers = [
      ...["js8", "js7"].map((id) => ({ kind: "job", ...job(id) })),
      { kind: "notebook", job: "jsn4kq0z81", notebook: "n4kq0z81", name: "train-digits", state: "running" },
      { kind: "tensorboard", job: "jstb4kq0z81xwp", tensorboard: "tb4kq0z81xwp", name: "resnet-sweep", state: "cancelled" },
      { kind: "tensorboard", job: "jstbgone", tensorboard: "tbgone000000", name: "warm-up", state: null, gone: true },
    ];
    return json(response, 200, { parent, children, madeBy: madeBy && job(madeBy), madeFrom, readBy: version === "v2bbbbb" ? readers.map((reader) => ({ notebook: null, tensorboard: null, gone: false, role: "input", at: new Date().toISOString(), ...reader })) : [] });
  }

  function file({ box, request, response, args, one }) {
    const found = box.data.content(one, args[2]);
    if (!found) return problem(response, 404, "file_not_found", `There is no file ${args[2]} in this version.`);
    const asked = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const type = args[2].endsWith(".png") ? "image/png" : "application/octet-stream";
    if (!asked) return response.writeHead(200, { "Content-Type": type, "X-Content-Type-Options": "nosniff" }).end(found.content);
    const part = found.content.subarray(Number(asked[1]), Number(asked[2]) + 1);
    return response.writeHead(206, { "Content-Type": type, "Content-Range": `bytes ${asked[1]}-${Number(asked[1]) + part.length - 1}/${found.content.length}` }).end(part);
  }

  async function slowly(box) {
    if (box.data.uploadDelayMillis) await new Promise((resolve) => setTimeout(resolve, box.data.uploadDelayMillis));
  }

  async function putFile({ box, response, args, raw, one }) {
    await slowly(box);
    const refused = box.data.refuseUpload("PUT", args[2]);
    if (refused === 507) return problem(response, 507, "quota_exceeded", "The team uses 640 GiB of its 640 GiB. Delete versions or artifacts that nobody needs.");
    if (refused) return problem(response, refused, "refused", `${args[2]} could not be written.`);
    box.data.uploads.push(`PUT ${args[2]}`);
    return json(response, 201, { ...box.data.put(one, args[2], raw), content: undefined });
  }

  async function putPart({ box, response, args, raw }) {
    await slowly(box);
    const upload = box.data.multipart.get(args[2]);
    const refused = box.data.refuseUpload("PART", `${upload.path}#${args[3]}`);
    if (refused) return problem(response, refused, "refused", `Part ${args[3]} could not be written.`);
    upload.parts.set(Number(args[3]), raw.length);
    box.data.uploads.push(`PART ${upload.path}#${args[3]}`);
    return json(response, 200, { number: Number(args[3]), bytes: raw.length });
  }

  function startImport({ box, response, body, one }) {
    const asked = JSON.parse(body);
    if (asked.url?.includes("127.0.0.1")) return problem(response, 422, "address_refused", "The box does not fetch from its own addresses.", "url");
    return json(response, 202, box.data.startImport(one, asked));
  }

  function addProvider(box, response, asked) {
    if (asked.bucket === "missing") return problem(response, 422, "provider_check_failed", "The bucket missing does not exist at this endpoint. Create it there first, or check its name.", "bucket");
    return json(response, 201, box.data.addProvider(asked));
  }
}
