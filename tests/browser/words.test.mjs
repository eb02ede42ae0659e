// The pure parts of the pages: figures in words, and the form's way to the API and back.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, commandText, cores, duration, figure, jobAsCurl, shellQuote } from "../../assets/format.js";
import { draftFromSpec, emptyDraft, specFromDraft } from "../../assets/pages/job-draft.js";

test("sizes are told in powers of 1024 with three digits at most", () => {
  assert.deepEqual([0, 1023, 1024, 1536, 10 * 1024 ** 2, 123.4 * 1024 ** 3, null].map(bytes), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "10 MiB", "123 GiB", "–"]);
});

test("durations name their two largest units", () => {
  assert.deepEqual([0.25, 4.25, 59.9, 60, 200, 7500, 273_600, -3, null].map(duration), ["250 ms", "4.3 s", "59 s", "1 min", "3 min 20 s", "2 h 5 min", "3 d 4 h", "0 s", "–"]);
});

test("times are told from now, before and after", () => {
  assert.equal(ago(new Date(Date.now() - 250_000).toISOString()), "4 min ago");
  assert.equal(ago(new Date(Date.now() + 7_300_000).toISOString()), "in 2 h");
  assert.equal(ago(null), "–");
});

test("values of a chart keep their meaning at any size", () => {
  assert.deepEqual([0, 0.123456789, 100_000, 12_345_678_901, 0.0000012].map(figure), ["0", "0.123457", "100000", "1.23e+10", "1.20e-6"]);
  assert.deepEqual([1000, 1500, 62_000].map(cores), ["1 core", "1.5 cores", "62 cores"]);
});

test("a quote in a command cannot end the quoting of the shell", () => {
  assert.equal(shellQuote("it's"), `'it'\\''s'`);
  assert.match(jobAsCurl("http://box/api/v1/jobs", { command: "echo 'a'; rm b" }), /-d '\{\n {2}"command": "echo '\\''a'\\''; rm b"\n\}'$/);
  assert.equal(commandText(["python", "-c", "print(1)"]), "python -c 'print(1)'");
});

test("what is left empty in the form is left out of the request", () => {
  assert.deepEqual(specFromDraft({ ...emptyDraft(), image: " busybox ", command: "true" }), { image: "busybox", command: "true" });
});

test("every field of the form reaches the request in the API's units", () => {
  const draft = {
    ...emptyDraft(), image: "a", command: "b", name: "n", project: "p", machineType: "gpu-1", workspace: "git", git: "https://x/y.git", ref: "main", gitPassword: "secret:GIT", dockerfile: "Dockerfile",
    env: [{ name: "A", value: "1", secret: false }, { name: "B", value: "HF", secret: true }, { name: " ", value: "dropped", secret: false }],
    inputs: [{ ref: " digits:stable ", name: "digits" }, { ref: "", name: "" }], outputs: [{ ref: "models", name: "model" }],
    workingDirectory: "/w", ports: "8080, 6006:16006", timeLimitMinutes: "1.5", retries: "3", priority: "-5", tags: "x, y,", sharedMemoryMib: "64", user: "1000", registryUsername: "u", registryPassword: "secret:R",
  };
  assert.deepEqual(specFromDraft(draft), {
    image: "a", command: "b", name: "n", project: "p", machineType: "gpu-1", workspace: { git: "https://x/y.git", ref: "main", password: "secret:GIT" }, build: { dockerfile: "Dockerfile" },
    env: { A: "1", B: "secret:HF" }, datasets: [{ ref: "digits:stable", name: "digits" }], outputs: [{ ref: "models", name: "model" }], workingDirectory: "/w", ports: [8080, { container: 6006, host: 16006 }], timeLimitSeconds: 90, retries: { limit: 3 }, priority: -5, tags: ["x", "y"],
    sharedMemoryBytes: 64 * 1024 ** 2, user: "1000", registryUsername: "u", registryPassword: "secret:R",
  });
});

const EARLIER = {
  id: "js1", project: { name: "p" }, machineType: "cpu-small",
  spec: {
    image: "a", command: ["sh", "-c", "echo 'two  blanks'"], name: "n", project: "p", machineType: "cpu-small", env: { A: "1", B: "secret:HF" }, workspace: { git: "https://x/y.git", username: "u" }, datasets: [{ ref: "digits", name: "d" }], ports: [{ container: 80, host: 8080 }],
    timeLimitSeconds: 3600, retries: { limit: 2, backoffSeconds: 7 }, priority: 3, tags: ["t"], sharedMemoryBytes: 1024 ** 3, registryUsername: "u", registryPassword: null,
  },
};

test("a clone that was not changed asks for the earlier job alone", () => {
  assert.deepEqual(specFromDraft(draftFromSpec(EARLIER)), { cloneOf: "js1" });
});

test("a clone says what differs, and none where a field was emptied", () => {
  const draft = { ...draftFromSpec(EARLIER), image: "b", env: [], inputs: [], ports: "", tags: "", priority: "", retries: "", workspace: "none" };
  assert.deepEqual(specFromDraft(draft), { cloneOf: "js1", image: "b", env: {}, datasets: [], ports: [], tags: [], priority: 0, retries: { limit: 0 }, workspace: null });
});

test("a clone without something that every clone would have is a job of its own", () => {
  const spec = specFromDraft({ ...draftFromSpec(EARLIER), timeLimitMinutes: "" });
  assert.equal("cloneOf" in spec || "timeLimitSeconds" in spec, false);
  assert.deepEqual(spec.command, EARLIER.spec.command, "the list kept its quoting");
  assert.deepEqual(spec.workspace, EARLIER.spec.workspace);
});

test("a port that is no number is sent as typed, for the daemon to name", () => {
  assert.deepEqual(specFromDraft({ ...emptyDraft(), image: "a", ports: "http" }).ports, ["http"]);
});
