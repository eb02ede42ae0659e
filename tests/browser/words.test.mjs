// The pure parts of the pages: figures in words, and the form's way to the API and back.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, commandText, cores, duration, figure, jobAsCurl, shellQuote } from "../../assets/format.js";
import { readNotebook } from "../../assets/components/notebook-cells.js";
import { extended, firstEnd, isNear, whyNotOpen } from "../../assets/components/notebook-words.js";
import { badgeMarkdown, readRepository, runPath } from "../../assets/components/repository-link.js";
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

test("addresses of every git host name a repository, a ref and a file", () => {
  const read = (path) => {
    const found = readRepository(path);
    return found && [found.git, found.ref, found.file];
  };
  assert.deepEqual(read("/github/fastai/fastbook/blob/master/01_intro.ipynb"), ["https://github.com/fastai/fastbook.git", "master", "01_intro.ipynb"]);
  assert.deepEqual(read("/github/fastai/fastbook"), ["https://github.com/fastai/fastbook.git", "", ""]);
  assert.deepEqual(read("/git/git.example:8443/a/b/c/-/blob/v1.0/x/y%20z.ipynb"), ["https://git.example:8443/a/b/c.git", "v1.0", "x/y z.ipynb"]);
  assert.deepEqual(read("/git/forge.example/a/b/src/branch/main/n.ipynb"), ["https://forge.example/a/b.git", "main", "n.ipynb"]);
  assert.deepEqual(read("/github/a/b/tree/HEAD"), ["https://github.com/a/b.git", "", ""]);
  for (const none of ["/github/alone", "/git/host", "/git/host/a", "/github/a/../b/c", "/github/-x/b", "/github/a/b%2F..%2Fc", "/git/user@host/a/b", "/github/%/b"]) assert.equal(readRepository(none), null, none);
});

test("a badge leads to an address that means the same", () => {
  const path = runPath({ git: "https://github.com/a/b.git", ref: "v1", file: "x y/z.ipynb", image: "i:1" });
  assert.equal(path, "/github/a/b/blob/v1/x%20y/z.ipynb?clone=true&runtime=i%3A1");
  const again = readRepository(path.split("?")[0]);
  assert.deepEqual([again.git, again.ref, again.file], ["https://github.com/a/b.git", "v1", "x y/z.ipynb"]);
  assert.equal(runPath({ git: "https://code.example/t/s/r" }), "/git/code.example/t/s/r?clone=true");
  assert.equal(runPath({ git: "git@github.com:a/b.git" }), null);
  assert.equal(badgeMarkdown("http://box", "/github/a/b"), "[![Run on Gradient](http://box/run-on-gradient.svg)](http://box/github/a/b)");
});

test("the nearer of its limits ends a session, and time is added to what is left", () => {
  const at = (seconds) => new Date(1e12 + seconds * 1000).toISOString();
  assert.deepEqual(firstEnd({ shutsDownAt: at(100), idleAt: at(50) }), { at: at(50), idle: true });
  assert.deepEqual(firstEnd({ shutsDownAt: at(50), idleAt: at(100) }), { at: at(50), idle: false });
  assert.equal(firstEnd({ shutsDownAt: null, idleAt: null }), null);
  const startedAt = at(-7200);
  assert.ok(isNear({ startedAt, shutsDownAt: at(599) }, 1e12) && !isNear({ startedAt, shutsDownAt: at(601) }, 1e12) && !isNear(undefined));
  const idle = (since, until) => isNear({ activity: { at: at(since) }, idleAt: at(until) }, 1e12);
  assert.deepEqual([idle(0, 300), idle(-220, 80), idle(-230, 70)], [false, false, true], "a short limit warns in its last quarter");
  assert.equal(extended({ shutsDownAt: at(100) }, 3600, 1e12), 3700);
  assert.equal(extended({ shutsDownAt: at(-5) }, 3600, 1e12), 3600);
});

test("a notebook that cannot be opened says why in every phase", () => {
  assert.equal(whyNotOpen({ phase: "running", ready: true }), null);
  for (const phase of ["queued", "preparing", "starting", "running", "teardown", null]) assert.match(whyNotOpen({ phase, ready: false }), /\.$/);
});

test("a notebook file is read with pictures as pictures and everything else as text", () => {
  const output = (data) => ({ output_type: "display_data", data });
  const file = { cells: [{ cell_type: "code", source: ["a\n", "b"], execution_count: 1, outputs: [output({ "image/png": "aGk=\n" }), output({ "image/png": '"><script>' , "text/plain": "fallback" }), output({ "text/html": "<b>" }), null, 5] }, null, { cell_type: "markdown", source: "# t", attachments: { "a.png": { "image/png": "aGk=" }, "b.svg": { "image/svg+xml": "<svg>" } } }] };
  const [code, text] = readNotebook(JSON.stringify(file)).cells;
  assert.equal(code.source, "a\nb");
  assert.deepEqual(code.outputs.map(({ kind }) => kind), ["picture", "text", "hidden"]);
  assert.equal(code.outputs[0].source, "data:image/png;base64,aGk=");
  assert.deepEqual(text.attachments, { "a.png": "data:image/png;base64,aGk=" });
  for (const none of ["", "[]", "{}", '{"cells": 3}', "null"]) assert.equal(readNotebook(none), null, none);
  assert.equal(readNotebook('{"worksheets": [{"cells": [{"cell_type": "code", "input": "old"}]}]}').cells[0].source, "old");
});
