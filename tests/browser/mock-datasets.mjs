// The mock's datasets: versions with invented files, one with a million, drafts that take uploads.
import { readFileSync } from "node:fs";
import { deflateSync } from "node:zlib";

const fixture = (name) => readFileSync(new URL(`fixtures/${name}`, import.meta.url));
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
const hash = (seed) => Array.from({ length: 64 }, (_, i) => "0123456789abcdef"[(seed * 31 + i * 7 + ((seed >> (i % 13)) & 15)) % 16]).join("");
/** A small picture, as a PNG. */
export const PICTURE = picture(56);
const MILLION = 1_000_000;

export const MANAGED = { id: "sp1", name: "Gradient Managed", type: "managed" };
const BUCKET = { id: "sp2", name: "lab-bucket", type: "s3" };

/** Datasets, versions, uploads, imports and providers; `emit(kind, id, change)` tells the stream. */
export class MockDatasets {
  datasets = [];
  versions = []; // { facts, files: Map(path → entry), million }
  multipart = new Map(); // id → { id, dataset, version, path, parts: Map(number → Buffer) }
  imports = [];
  providers = [{ ...MANAGED, bucket: null, endpoint: null, region: null, pathStyle: null, accessKeyId: null, createdAt: ago(9e5), checkedAt: ago(3600), checkError: null }];
  partBytes = 8 * MIB;
  /** For tests: (method, path) → a status with which an upload is refused, or null. */
  refuseUpload = () => null;
  uploads = []; // "METHOD path" of each upload that came through.
  uploadDelayMillis = 0;
  fsck = null; // As the daemon says before the first check.
  gc = null;
  garbage = [];
  #sequence = 0;

  constructor(emit) {
    this.emit = emit;
  }

  fill() {
    this.providers.push({ ...BUCKET, bucket: "research-data", endpoint: "https://s3.example.org", region: "eu-central-1", pathStyle: true, accessKeyId: "AKIAEXAMPLE", createdAt: ago(5e5), checkedAt: ago(7200), checkError: null }, { id: "sp3", name: "old-minio", type: "s3", bucket: "archive", endpoint: "http://10.0.4.2:9000", region: null, pathStyle: true, accessKeyId: "minio", createdAt: ago(8e5), checkedAt: ago(60), checkError: "The server at 10.0.4.2:9000 does not answer. Check the endpoint and that this box reaches it." });
    const digits = this.addDataset({ id: "dsdigits", name: "digits", description: "Handwritten digits, 28×28, with labels", ago: 8e5 });
    this.addVersion(digits, { version: "v1aaaaa", state: "committed", message: "As published", ago: 7e5, files: digitsFiles(40) });
    this.addVersion(digits, { version: "v2bbbbb", state: "committed", message: "Without the mislabelled ones", tags: ["stable", "paper"], parent: "v1aaaaa", metadata: { licence: "CC BY 4.0", source: "https://example.org/digits" }, ago: 3e5, files: digitsFiles(38, true) });
    this.addVersion(digits, { version: "v3ccccc", state: "uncommitted", note: "The job finetune-llama failed, so what it left under /outputs/digits is kept as a draft. Look at it, then commit or delete it.", madeBy: "js5", user: "grace", ago: 2e4, files: digitsFiles(3) });
    this.addVersion(digits, { version: "v4ddddd", state: "uncommitted", message: "More handwriting", parent: "v2bbbbb", ago: 4000, files: digitsFiles(38, true) });
    const images = this.addDataset({ id: "dsimages", name: "million-images", description: "One directory with very many files", ago: 6e5 });
    const large = this.addVersion(images, { version: "vmillio", state: "committed", message: "All of them", madeBy: "js4", ago: 5e5, files: [["README.md", 900], ["labels.parquet", fixture("labels.parquet")], ["labels-zstd.parquet", fixture("labels-zstd.parquet")]] });
    large.million = "train/";
    Object.assign(large.facts, { files: MILLION + 3, bytes: MILLION * 14_336 });
    const corpus = this.addDataset({ id: "dscorpus", name: "corpus", description: "Web text, deduplicated", provider: BUCKET, isPublic: false, ago: 5e5 });
    this.addVersion(corpus, { version: "vcorp01", state: "committed", message: "First crawl", tags: ["2026-03"], ago: 4e5, files: Array.from({ length: 60 }, (_, i) => [`shards/part-${String(i).padStart(5, "0")}.jsonl`, 190 * MIB]) });
    const base = this.addDataset({ id: "dsimgnet", name: "imagenet-mini", description: "A tenth of ImageNet, kept by the admins", isPublic: true, ago: 9e5 });
    const damaged = this.addVersion(base, { version: "vimgnet", state: "committed", message: "For everybody", ago: 8e5, files: Array.from({ length: 300 }, (_, i) => [`val/n${String(1440764 + i * 37)}/${i}.jpeg`, 110_000]) });
    damaged.facts.damagedAt = ago(5000);
    this.addDataset({ id: "dsempty", name: "not-yet", description: "", ago: 100 });
    this.fsck = { running: false, doneBytes: 412 * GIB, totalBytes: 412 * GIB, checkedFiles: 1_204_331, startedAt: ago(9000), finishedAt: ago(5000), damaged: [{ blake3: hash(99), bytes: 110_000, foundAt: ago(5000), versions: [{ dataset: "dsimgnet", name: "imagenet-mini", version: "vimgnet", paths: ["val/n1440764/0.jpeg", "val/n1440801/1.jpeg"] }] }], mended: [{ dataset: "dsdigits", name: "digits", version: "v1aaaaa", files: 2 }, { dataset: "dscorpus", name: "corpus", version: "vcorp01", files: 1 }] };
    this.gc = { dryRun: false, bytes: 3.1 * GIB, files: 20_412, versions: [], buckets: { bytes: 0, objects: 0, uploads: 0 }, at: ago(40_000) };
    this.garbage = [{ dataset: "dsdigits", name: "digits", version: "v0zzzzz", bytes: 61 * MIB }, { dataset: "dsimages", name: "million-images", version: "vtrial1", bytes: 4.2 * GIB }];
    this.imports.push({ id: "im1", dataset: "dsdigits", version: "v4ddddd", state: "failed", source: { kind: "url", words: "https://example.org/more.csv" }, prefix: "", commit: false, progress: { doneFiles: 0, doneBytes: 20 * MIB, totalFiles: 1, totalBytes: 90 * MIB }, message: "example.org closed the connection after 20 MiB of 90 MiB.", createdAt: ago(3000), finishedAt: ago(2900) });
  }

  // ── Datasets and versions ──────────────────────────────────────────────────────────────────────

  addDataset({ id, name, description = "", provider = MANAGED, isPublic = false, ago: age = 0 }) {
    const dataset = { id, name, description, public: isPublic, storageProvider: provider, user: "ada", createdAt: ago(age), updatedAt: ago(age / 3) };
    this.datasets.push(dataset);
    return dataset;
  }

  addVersion(dataset, { version, state, message = "", tags = [], parent = null, madeBy = null, note = null, metadata = {}, user = "ada", ago: age = 0, files = [] }) {
    const facts = {
      dataset: { id: dataset.id, name: dataset.name }, version, reference: `${dataset.id}:${version}`, state, message, metadata, tags, user, parent, madeBy, note, files: 0, bytes: 0, damagedAt: null,
      createdAt: ago(age), updatedAt: ago(age), committedAt: state === "committed" ? ago(age - 60) : null,
    };
    const one = { facts, files: new Map(), million: null };
    for (const [path, content] of files) this.put(one, path, content);
    this.versions.unshift(one);
    return one;
  }

  /** Puts a file; a number instead of bytes invents contents of that size. */
  put(one, path, content) {
    const bytes = typeof content === "number" ? content : content.length;
    one.files.set(path, { path, kind: "file", bytes, blake3: hash(bytes + path.length), executable: path.endsWith(".sh"), target: null, content: typeof content === "number" ? null : content });
    this.count(one);
    return one.files.get(path);
  }

  count(one) {
    one.facts.files = one.files.size + (one.million ? MILLION : 0);
    one.facts.bytes = [...one.files.values()].reduce((sum, file) => sum + (file.bytes ?? 0), 0) + (one.million ? MILLION * 14_336 : 0);
  }

  dataset(name) {
    return this.datasets.find((dataset) => dataset.id === name || dataset.name === name);
  }

  view(dataset) {
    const mine = this.versions.filter(({ facts }) => facts.dataset.id === dataset.id);
    const committed = mine.filter(({ facts }) => facts.state === "committed");
    return { ...dataset, versions: mine.length, latest: committed[0]?.facts.version ?? null, bytes: committed.reduce((sum, { facts }) => sum + facts.bytes, 0) };
  }

  list(text) {
    return this.datasets.filter(({ name, description }) => !text || `${name} ${description}`.includes(text)).map((dataset) => this.view(dataset));
  }

  version(datasetName, name) {
    const dataset = this.dataset(datasetName);
    const mine = this.versions.filter(({ facts }) => facts.dataset.id === dataset?.id);
    if (name === "latest") return mine.find(({ facts }) => facts.state === "committed");
    return mine.find(({ facts }) => facts.version === name || facts.tags.includes(name));
  }

  versionsOf(datasetName) {
    const { id } = this.dataset(datasetName);
    return this.versions.filter(({ facts }) => facts.dataset.id === id).map(({ facts }) => facts);
  }

  create(asked) {
    const provider = this.providers.find(({ id, name }) => id === asked.storageProvider || name === asked.storageProvider) ?? MANAGED;
    const dataset = this.addDataset({ id: `dsnew${this.datasets.length}`, name: asked.name, description: asked.description ?? "", provider, isPublic: asked.public ?? false });
    this.emit("dataset", dataset.id, "created");
    return this.view(dataset);
  }

  begin(datasetName, { message = "", parent = null }) {
    const dataset = this.dataset(datasetName);
    const from = parent && this.version(datasetName, parent);
    const one = this.addVersion(dataset, { version: `vnew${String((this.#sequence += 1)).padStart(3, "0")}`, state: "uncommitted", message, parent: from?.facts.version ?? null });
    if (from) for (const [path, entry] of from.files) one.files.set(path, entry);
    this.count(one);
    this.emit("version", one.facts.reference, "created");
    return one.facts;
  }

  commit(one) {
    Object.assign(one.facts, { state: "committed", committedAt: ago(0) });
    this.versions = [one, ...this.versions.filter((other) => other !== one)];
    this.emit("version", one.facts.reference, "committed");
    return one.facts;
  }

  setTag(datasetName, tag, name) {
    for (const facts of this.versionsOf(datasetName)) facts.tags = facts.tags.filter((other) => other !== tag);
    if (name) this.version(datasetName, name).facts.tags.push(tag);
    this.emit("version", name, "changed");
  }

  removeVersion(one) {
    this.versions = this.versions.filter((other) => other !== one);
    this.emit("version", one.facts.reference, "deleted");
  }

  removeDataset(dataset) {
    this.datasets = this.datasets.filter((other) => other !== dataset);
    this.emit("dataset", dataset.id, "deleted");
  }

  // ── Files ──────────────────────────────────────────────────────────────────────────────────────

  /** As S3 lists: every path that begins with the prefix, or the directories beneath it as one each. */
  files(one, { prefix, recursive, limit, cursor }) {
    if (one.million && prefix.startsWith(one.million)) return millionFiles(one.million, prefix, limit, cursor);
    const found = new Map();
    const add = (path, item) => {
      if (!path.startsWith(prefix)) return;
      const cut = recursive ? -1 : path.indexOf("/", prefix.length);
      if (cut < 0) found.set(path, item);
      else found.set(path.slice(0, cut + 1), { path: path.slice(0, cut), kind: "directory", bytes: null, blake3: null, executable: false, target: null });
    };
    for (const [path, { content: _, ...item }] of one.files) add(path, item);
    if (one.million) add(`${one.million}x`, null);
    const keys = [...found.keys()].sort().filter((key) => !cursor || key > cursor);
    const page = keys.slice(0, limit);
    return { items: page.map((key) => found.get(key)), next: keys.length > limit ? page.at(-1) : null };
  }

  content(one, path) {
    const file = one.files.get(path) ?? (one.million && path.startsWith(one.million) ? { bytes: PICTURE.length, content: PICTURE, blake3: hash(7) } : null);
    return file && { ...file, content: file.content ?? invented(path, file.bytes) };
  }

  removeFile(one, path) {
    for (const key of [...one.files.keys()]) if (key === path || key.startsWith(`${path}/`)) one.files.delete(key);
    this.count(one);
  }

  diff(one, against, limit, cursor) {
    const paths = [...new Set([...one.files.keys(), ...against.files.keys()])].sort();
    const all = paths.flatMap((path) => {
      const [after, before] = [one.files.get(path), against.files.get(path)];
      if (after && before && after.blake3 === before.blake3) return [];
      return [{ path, change: !before ? "added" : !after ? "removed" : "changed", bytesBefore: before?.bytes ?? null, bytesAfter: after?.bytes ?? null }];
    });
    const rest = all.filter(({ path }) => !cursor || path > cursor);
    const of = (change) => all.filter((item) => item.change === change).length;
    const sum = (field) => all.reduce((total, item) => total + (item[field] ?? 0), 0);
    return { items: rest.slice(0, limit), next: rest.length > limit ? rest[limit - 1].path : null, totals: { added: of("added"), removed: of("removed"), changed: of("changed"), bytesAdded: sum("bytesAfter"), bytesRemoved: sum("bytesBefore") } };
  }

  lineage(datasetName, jobs) {
    const job = (id) => jobs.find((candidate) => candidate.id === id);
    const versions = this.versionsOf(datasetName);
    const nodes = versions.map(({ version, tags, state }) => ({ kind: "version", id: version, label: tags.join(", "), state, gone: false }));
    const edges = versions.filter(({ parent }) => parent).map(({ parent, version }) => ({ from: parent, to: version, role: "parent" }));
    const uses = versions.length > 1 ? [["v1aaaaa", "js4"], ["v2bbbbb", "js8"], ["v2bbbbb", "js7"], ["v1aaaaa", "js5"]] : [];
    for (const { madeBy, version } of versions) if (madeBy) edges.push({ from: madeBy, to: version, role: "output" });
    for (const [from, to] of uses) edges.push({ from, to, role: "input" });
    if (versions.length > 1) {
      nodes.push({ kind: "notebook", id: "n4kq0z81", label: "train-digits", state: null, gone: false });
      nodes.push({ kind: "tensorboard", id: "tb4kq0z81xwp", label: "resnet-sweep", state: null, gone: false });
      nodes.push({ kind: "tensorboard", id: "tbgone000000", label: "warm-up", state: null, gone: true });
      edges.push({ from: "n4kq0z81", to: "v2bbbbb", role: "files" });
      for (const from of ["v1aaaaa", "v2bbbbb"]) edges.push({ from, to: "tb4kq0z81xwp", role: "input" });
      edges.push({ from: "v2bbbbb", to: "tbgone000000", role: "input" });
    }
    for (const id of new Set(edges.flatMap(({ from, to }) => [from, to]).filter((id) => id.startsWith("js")))) nodes.push({ kind: "job", id, label: job(id)?.name ?? "", state: job(id)?.state ?? null, gone: !job(id) });
    return { nodes, edges: edges.filter(({ from, to }) => nodes.some(({ id }) => id === from) && nodes.some(({ id }) => id === to)) };
  }

  // ── Uploads in parts, imports ──────────────────────────────────────────────────────────────────

  beginMultipart(dataset, version, path) {
    const upload = { id: `mp${(this.#sequence += 1)}`, dataset, version, path, parts: new Map() };
    this.multipart.set(upload.id, upload);
    return { id: upload.id, partBytes: this.partBytes };
  }

  multipartOf(dataset, version) {
    return [...this.multipart.values()].filter((upload) => upload.dataset === dataset && upload.version === version).map(({ id, path, parts }) => ({ id, path, partBytes: this.partBytes, parts: [...parts].sort(([a], [b]) => a - b).map(([number, bytes]) => ({ number, bytes })) }));
  }

  complete(one, id) {
    const upload = this.multipart.get(id);
    this.multipart.delete(id);
    return this.put(one, upload.path, [...upload.parts.values()].reduce((sum, bytes) => sum + bytes, 0));
  }

  /** A version that is made of files of a notebook or of the team, as the daemon begins one. */
  beginFrom(datasetName, asked) {
    const facts = this.begin(datasetName, asked);
    const { root, beneath = "", paths = [] } = asked.from;
    const item = this.startImport(this.version(datasetName, facts.version), { commit: asked.commit, files: { root, words: `/notebooks of train-digits (${root})${beneath ? `: ${beneath}` : ""}${paths.length ? `: ${paths.map((path) => `“${path}”`).join(", ")}` : ""}` } });
    this.begunFrom = asked; // For tests.
    return { ...facts, import: this.importView(item) };
  }

  /** An import as its own routes show it. */
  importView(item) {
    return { ...item, version: `${item.dataset}:${item.version}`, dataset: undefined };
  }

  /** An import goes on by a step each time it is looked at, and is done after a few. */
  startImport(one, asked) {
    const words = asked.files?.words ?? asked.url ?? asked.directory ?? `s3://${asked.s3.bucket ?? "research-data"}/${asked.s3.prefix ?? ""}`;
    const item = { id: `im${10 + this.imports.length}`, dataset: one.facts.dataset.id, version: one.facts.version, state: "running", source: { kind: asked.files ? "files" : asked.url ? "url" : asked.s3 ? "s3" : "directory", words, root: asked.files?.root }, prefix: asked.prefix ?? "", commit: asked.commit ?? false, progress: { doneFiles: 0, doneBytes: 0, totalFiles: 12, totalBytes: 12 * MIB }, message: null, createdAt: ago(0), finishedAt: null };
    this.imports.unshift(item);
    this.emit("import", item.id, "created");
    return item;
  }

  /** For tests: how far the running imports are, of twelve files; at twelve they are done. */
  advanceImports(doneFiles) {
    for (const item of this.imports.filter(({ state }) => state === "running")) {
      Object.assign(item.progress, { doneFiles, doneBytes: doneFiles * MIB });
      if (doneFiles === 12) {
        const one = this.version(item.dataset, item.version);
        for (let i = 0; i < 12; i += 1) this.put(one, `${item.prefix ? `${item.prefix}/` : ""}imported-${i}.csv`, MIB);
        Object.assign(item, { state: "done", finishedAt: ago(0) });
      }
      this.emit("import", item.id, doneFiles === 12 ? "finished" : "progress");
    }
  }

  cancelImport(id) {
    const item = this.imports.find((candidate) => candidate.id === id);
    Object.assign(item, { state: "cancelled", finishedAt: ago(0) });
    this.emit("import", id, "finished");
  }

  // ── Providers, the disk ────────────────────────────────────────────────────────────────────────

  addProvider(asked) {
    const provider = { id: `sp${this.providers.length + 9}`, endpoint: null, region: null, pathStyle: false, ...asked, secretAccessKey: undefined, createdAt: ago(0), checkedAt: ago(0), checkError: null };
    this.providers.push(provider);
    this.emit("storage_provider", provider.id, "created");
    return provider;
  }

  storage() {
    const part = (kind, bytes, files) => ({ kind, bytes, files });
    const full = this.datasets.length > 0;
    const parts = [part("datasets", full ? 412 * GIB : 0, full ? 1_204_331 : 0), part("storage", full ? 96 * GIB : 0, full ? 8120 : 0), part("artifacts", full ? 51 * GIB : 0, full ? 640 : 0), part("workspaces", full ? 2.2 * GIB : 0, full ? 4100 : 0), part("logs", full ? 0.9 * GIB : 0, full ? 160 : 0), part("uploads", 0, 0), part("cache", full ? 38 * GIB : 0, full ? 60 : 0)];
    return {
      disk: { totalBytes: 3800 * GIB, freeBytes: 1210 * GIB }, quotaBytes: full ? 600 * GIB : null, usedBytes: parts.reduce((sum, { kind, bytes }) => sum + (["logs", "cache"].includes(kind) ? 0 : bytes), 0), countedAt: ago(45), parts, images: { bytes: 88 * GIB, count: 14 },
      check: this.fsck && { running: this.fsck.running, finishedAt: this.fsck.finishedAt, damaged: this.fsck.damaged.length, mended: this.fsck.mended.reduce((sum, { files }) => sum + files, 0) },
      cache: { budgetBytes: 200 * GIB, usedBytes: full ? 38 * GIB : 0, items: full ? [{ dataset: "dscorpus", name: "corpus", version: "vcorp01", bytes: 38 * GIB, usedAt: ago(500), mounted: true }] : [] },
    };
  }

  clean(dryRun) {
    const report = { dryRun, bytes: this.garbage.reduce((sum, { bytes }) => sum + bytes, 0) + (this.garbage.length ? 120 * MIB : 0), files: this.garbage.length * 3000, versions: this.garbage, buckets: this.garbage.length ? { bytes: 740 * MIB, objects: 1210, uploads: 2 } : { bytes: 0, objects: 0, uploads: 0 }, at: ago(0) };
    if (!dryRun) {
      this.garbage = [];
      this.gc = report;
    }
    return report;
  }

  /** A check is half done when it is next looked at, and done at the look after that. */
  lookAtCheck() {
    const now = this.fsck;
    if (this.fsck?.running) this.fsck = this.fsck.doneBytes ? { ...this.fsck, running: false, doneBytes: this.fsck.totalBytes, checkedFiles: 1_204_331, finishedAt: ago(0), damaged: [], mended: [{ dataset: "dsimgnet", name: "imagenet-mini", version: "vimgnet", files: 2 }] } : { ...this.fsck, doneBytes: this.fsck.totalBytes / 2, checkedFiles: 600_000 };
    return now;
  }
}

function millionFiles(folder, prefix, limit, cursor) {
  const name = (i) => `${folder}img_${String(i).padStart(7, "0")}.png`;
  let from = cursor === null ? 0 : Number(cursor);
  const wanted = prefix.slice(folder.length);
  let last = MILLION;
  if (wanted) {
    const digits = wanted.replace("img_", "").replace(".png", "");
    if (!/^\d*$/.test(digits)) return { items: [], next: null };
    const step = 10 ** (7 - digits.length);
    from = Math.max(from, Number(digits || 0) * step);
    last = Math.min(MILLION, Number(digits || 0) * step + step);
  }
  const to = Math.min(last, from + limit);
  const items = Array.from({ length: Math.max(0, to - from) }, (_, i) => ({ path: name(from + i), kind: "file", bytes: 14_336, blake3: hash(from + i), executable: false, target: null }));
  return { items, next: to < last ? String(to) : null };
}

function digitsFiles(count, without = false) {
  const files = [
    ["README.md", Buffer.from("# Digits\n\nHandwritten digits with labels.\n\n<script>alert(1)</script> is text here.\n")],
    ["labels.csv", Buffer.from(`path,label,writer\n${Array.from({ length: 120 }, (_, i) => `images/${i}.png,${i % 10},"writer, no. ${i % 7}"`).join("\n")}\n`)],
    ["annotations.jsonl", Buffer.from(Array.from({ length: 30 }, (_, i) => JSON.stringify({ id: i, label: i % 10, box: [1, 2, 3, i], ok: i % 3 === 0 })).join("\n"))],
    ["prepare.sh", Buffer.from("#!/bin/sh\nset -e\npython prepare.py\n")],
    ["weights.bin", Buffer.from([1, 2, 0, 255, 254, 0])],
    ["empty.txt", Buffer.alloc(0)],
    ["long.log", Buffer.from(Array.from({ length: 6000 }, (_, i) => `line ${i} of a long file\n`).join(""))],
    ["folder with spaces/ä #1?.txt", Buffer.from("a name that must be encoded\n")],
    ...Array.from({ length: count }, (_, i) => [`images/${String(i).padStart(3, "0")}.png`, PICTURE]),
  ];
  return without ? files.filter(([path]) => path !== "prepare.sh").concat([["CHANGES.md", Buffer.from("Two images removed.\n")]]) : files;
}

function invented(path, bytes) {
  return Buffer.alloc(Math.min(bytes, 4 * MIB), `${path}\n`);
}

/** A PNG of so many pixels a side. */
function picture(side) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crcOf(body));
    return Buffer.concat([length, body, sum]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 2, 0, 0, 0], 8);
  const rows = Array.from({ length: side }, (_, y) => Buffer.from([0, ...Array.from({ length: side }, (__, x) => (Math.hypot(x - side / 2, y - side / 2) < side / 3 ? [63, 81, 214] : [240, 200 - y, 120 + x])).flat()]));
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head), chunk("IDAT", deflateSync(Buffer.concat(rows))), chunk("IEND", Buffer.alloc(0))]);
}

function crcOf(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
