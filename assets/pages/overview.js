// The box at a glance: what it has, who holds what, what runs and what waits.
import { html, nothing, repeat } from "/html.js";
import { api, addresses } from "/api.js";
import { bytes, cores, count, jobAsCurl, percent, userName } from "/format.js";
import { Page } from "/components/page.js";
import { end, expectationInShort, holders } from "/components/queue-place.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { RUN_KINDS, runIcon, runName } from "/components/run-name.js";
import "/components/code-block.js";
import "/components/gpu-meter.js";
import "/components/meter-bar.js";
import "/components/time-ago.js";
import "/components/ui-icon.js";

// Measurements change all the time and are no events; state is, and arrives by the stream.
const MEASURE_MILLIS = 5000;
/** Where those of the team are listed that hold a place, and those that wait for one. */
const RUNNING = { job: "/jobs?state=provisioned,running", notebook: "/notebooks?live=true", tensorboard: "/tensorboards?live=true" };
const WAITING = { job: "/jobs?state=pending", notebook: "/notebooks?live=true", tensorboard: "/tensorboards?live=true" };
const LISTS = { job: "Jobs", notebook: "Notebooks", tensorboard: "TensorBoards" };
const FIRST_JOB = { image: "python:3.12-slim", command: "echo hello from $(hostname); nproc" };

export default class OverviewPage extends Page {
  start() {
    this.heading = "Overview";
    this.box = new Resource(this, api.box);
    this.gpus = new Resource(this, api.gpus);
    this.queue = new Resource(this, api.queue);
    const refreshAll = () => [this.box, this.gpus, this.queue].forEach((resource) => resource.refresh());
    [this.box, this.gpus, this.queue].forEach((resource) => resource.load());
    this.watch(["job", "notebook", "tensorboard", "gpu", "queue"], refreshAll);
    this.every(MEASURE_MILLIS, () => {
      this.box.load();
      this.gpus.load();
    });
  }

  view() {
    return html`
      <header class="page-head">
        <div><h1>${this.box.value?.hostname ?? "Overview"}</h1><p>${this.box.value ? `gradientd ${this.box.value.version}` : ""}${this.box.value?.engine.version ? ` · engine ${this.box.value.engine.version}` : ""}</p></div>
      </header>
      <div class="stack">${this.box.show((box) => this.#box(box))}</div>
      ${this.#isNew() ? this.#firstJob() : nothing}
      <section class="section" aria-labelledby="gpus-title">
        <div class="section-head"><h2 id="gpus-title">GPUs</h2>${this.#driver()}</div>
        ${this.gpus.show((gpus) => this.#gpus(gpus))}
      </section>
      <div class="columns">
        <section class="section" aria-labelledby="running-title">
          <div class="section-head"><h2 id="running-title">Running</h2>${this.#lists(this.queue.value?.running, RUNNING)}</div>
          <div class="card">${this.queue.show((queue) => this.#running(queue.running))}</div>
        </section>
        <section class="section" aria-labelledby="queue-title">
          <div class="section-head"><h2 id="queue-title">Queue</h2>${this.#lists(this.queue.value?.items, WAITING)}</div>
          <div class="card">${this.queue.show((queue) => this.#waiting(queue.items))}</div>
        </section>
      </div>`;
  }

  #box(box) {
    const { cpu, memory, disk, engine } = box;
    return html`
      ${engine.state === "ok" ? nothing : this.#warning("The container engine does not answer", engine.message ?? "Jobs wait until it is back. Check that the Docker service runs.", "bad")}
      ${disk.state === "full" ? this.#warning("The disk is full", "New work is refused until there is room. Delete old jobs or artifacts; it recovers by itself.", "bad") : nothing}
      ${disk.state === "warn" ? this.#warning("The disk is nearly full", `${bytes(disk.freeBytes)} are left on ${disk.path}. When it is full, new work is refused.`, "waiting") : nothing}
      ${box.loops?.filter((loop) => loop.lastError).map((loop) => this.#warning(`The ${loop.name} loop reports a problem`, loop.lastError, "waiting"))}
      <div class="tiles">
        ${this.#tile("microchip", "GPUs", html`${box.gpu.count - box.gpu.free} <small>of ${box.gpu.count} held</small>`, { value: box.gpu.count ? (box.gpu.count - box.gpu.free) / box.gpu.count : 0, note: box.gpu.count ? `${box.gpu.free} free` : "none on this box" })}
        ${this.#tile("cpu", "CPU", html`${percent(cpu.usedPercent)} <small>busy</small>`, { value: cpu.usedPercent / 100, under: cpu.allocatedMillis / cpu.capacityMillis, note: `${cores(cpu.allocatedMillis)} of ${cores(cpu.capacityMillis)} given out` })}
        ${this.#tile("memory-stick", "Memory", html`${bytes(memory.usedBytes)} <small>of ${bytes(memory.totalBytes)}</small>`, { value: memory.usedBytes / memory.totalBytes, under: memory.allocatedBytes / memory.capacityBytes, note: `${bytes(memory.allocatedBytes)} given out` })}
        ${this.#tile("hard-drive", "Disk", html`${bytes(disk.freeBytes)} <small>free of ${bytes(disk.totalBytes)}</small>`, { value: 1 - disk.freeBytes / disk.totalBytes, note: disk.path, link: "/storage", tone: { warn: "waiting", full: "bad" }[disk.state] })}
      </div>`;
  }

  #tile(icon, title, big, { value, under, note, tone, link }) {
    return html`
      <div class="card tile">
        <div class="title"><ui-icon name=${icon}></ui-icon>${title}</div>
        <div class="big">${big}</div>
        <meter-bar aria-label=${title} tone=${tone ?? "accent"} .value=${value} .under=${under}></meter-bar>
        <div class="tiny quiet cut" title=${note}>${note}${link ? html` · <a class="link" href=${link}>what uses it</a>` : nothing}</div>
      </div>`;
  }

  #warning(title, text, tone) {
    return html`<div class="note" data-tone=${tone} role="status"><ui-icon name="triangle-alert"></ui-icon><div><strong>${title}</strong><div class="small soft">${text}</div></div></div>`;
  }

  #driver() {
    const { driverVersion, cudaVersion } = this.gpus.value ?? {};
    if (!driverVersion) return nothing;
    return html`<span class="small quiet">driver ${driverVersion}${cudaVersion ? ` · CUDA ${cudaVersion}` : ""}</span>`;
  }

  #gpus({ items, unavailable, links }) {
    if (!items.length) {
      return html`<div class="card">${empty({ icon: "microchip", title: "No GPUs on this box", text: `${unavailable ?? "No NVIDIA driver was found."} Jobs run on the processor meanwhile.` })}</div>`;
    }
    const joined = (links ?? []).filter(({ link }) => link.startsWith("nvlink"));
    return html`
      ${unavailable ? this.#warning("The GPUs cannot be read", unavailable, "bad") : nothing}
      <div class="gpu-grid">${repeat(items, (gpu) => gpu.uuid, (gpu) => html`<gpu-meter .gpu=${gpu}></gpu-meter>`)}</div>
      ${joined.length ? html`<p class="tiny quiet">NVLink: ${joined.map(({ a, b, link }) => `${indexOf(items, a)}–${indexOf(items, b)} (${link.split(":")[1]} links)`).join(", ")}</p>` : nothing}`;
  }

  /** Links to the lists of the kinds that are there; a list of one kind would not show all of them. */
  #lists(runs, addresses) {
    const kinds = Object.keys(LISTS).filter((kind) => runs?.some((run) => run.kind === kind && run.own));
    return kinds.length ? html`<nav class="row small" aria-label="Lists">${kinds.map((kind) => html`<a class="quiet" href=${addresses[kind]}>${LISTS[kind]}</a>`)}</nav>` : nothing;
  }

  #running(items) {
    if (!items.length) return empty({ icon: "play", title: "Nothing runs", text: "The whole box is free.", actions: html`<a class="button small" href="/jobs/new">Start a job</a>` });
    return html`<ul class="work-list">${repeat(items, (run) => run.jobId, (run) => html`
      <li>
        <span class="row-tight">${runIcon(run)}${runName(run, "cut row-link")}</span>
        <span class="small nowrap">${run.startedAt ? html`<time-ago at=${run.startedAt} until=""></time-ago>` : html`<span class="quiet">starting</span>`}</span>
        <span class="tiny quiet cut">${RUN_KINDS[run.kind].word} · ${userName(run.user)} · ${cores(run.cpuMillis)} · ${bytes(run.memoryBytes)}${run.gpus?.length ? ` · ${count(run.gpus.length, "GPU")}` : ""}</span>
        <span class="tiny quiet nowrap">${run.until || run.idleAt ? end(run, "") : "no time limit"}</span>
      </li>`)}</ul>`;
  }

  #waiting(items) {
    if (!items.length) return empty({ icon: "clock", title: "Nobody waits", text: "What does not fit now waits here, with the reason and who holds what it needs." });
    return html`<ul class="work-list">${repeat(items, (run) => run.jobId, (run) => html`
      <li>
        <span class="row-tight"><span class="position" aria-label="Position ${run.position}">${run.position}</span>${runIcon(run)}${runName(run, "cut row-link")}</span>
        <span class="small nowrap quiet">${expectationInShort(run)}</span>
        <span class="small soft">${run.reason}</span>
        <span class="tiny quiet nowrap">${RUN_KINDS[run.kind].word} · ${run.machineType}</span>
        <span class="tiny quiet">${holders(run)}</span>
      </li>`)}</ul>`;
  }

  #isNew() {
    const jobs = this.box.value?.jobs;
    return jobs && jobs.pending + jobs.running + jobs.finished === 0;
  }

  #firstJob() {
    return html`
      <section class="section card first-job" aria-labelledby="first-title">
        <div><h2 id="first-title">Run the first job</h2><p class="quiet">A job is an image and a command. It gets the cores, memory and GPUs of its machine type, and nobody else gets them meanwhile.</p></div>
        <ol>
          <li><div class="stack-s"><strong>Make a key</strong><span class="soft">Under <a class="link" href="/keys">Keys</a>, for the terminal. Here you are signed in already.</span></div></li>
          <li><div class="stack-s"><strong>Submit</strong><span class="soft">From a terminal, or <a class="link" href="/jobs/new">with the form</a>:</span>
            <code-block label="First job as curl" .text=${`export GRADIENTD_KEY=gdk_…\n${jobAsCurl(addresses.jobs(), FIRST_JOB)}`}></code-block></div></li>
          <li><div class="stack-s"><strong>Watch</strong><span class="soft">Its log is live under <a class="link" href="/jobs">Jobs</a>. Print <code>{"chart": "loss", "x": 1, "y": 0.5}</code> and it is drawn. What it writes to <code>/artifacts</code> is kept.</span></div></li>
        </ol>
      </section>`;
  }
}

function indexOf(gpus, uuid) {
  return gpus.find((gpu) => gpu.uuid === uuid)?.index ?? "?";
}

customElements.define("overview-page", OverviewPage);
