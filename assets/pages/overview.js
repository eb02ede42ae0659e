// The box at a glance: what it has, who holds what, what runs and what waits.
import { html, nothing, repeat } from "/html.js";
import { api, addresses } from "/api.js";
import { bytes, cores, count, jobAsCurl, percent, userName } from "/format.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { runPage } from "/components/job-words.js";
import "/components/code-block.js";
import "/components/gpu-meter.js";
import "/components/meter-bar.js";
import "/components/time-ago.js";
import "/components/ui-icon.js";

// Measurements change all the time and are no events; state is, and arrives by the stream.
const MEASURE_MILLIS = 5000;
const FIRST_JOB = { image: "python:3.12-slim", command: "echo hello from $(hostname); nproc" };

export default class OverviewPage extends Page {
  start() {
    this.heading = "Overview";
    this.box = new Resource(this, api.box);
    this.gpus = new Resource(this, api.gpus);
    this.queue = new Resource(this, api.queue);
    const refreshAll = () => [this.box, this.gpus, this.queue].forEach((resource) => resource.refresh());
    [this.box, this.gpus, this.queue].forEach((resource) => resource.load());
    this.watch(["job", "notebook", "gpu", "queue"], refreshAll);
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
          <div class="section-head"><h2 id="running-title">Running</h2><a class="small quiet" href="/jobs?state=running">All running</a></div>
          <div class="card">${this.queue.show((queue) => this.#running(queue.running))}</div>
        </section>
        <section class="section" aria-labelledby="queue-title">
          <div class="section-head"><h2 id="queue-title">Queue</h2><a class="small quiet" href="/jobs?state=pending">All waiting</a></div>
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
        ${this.#tile("cpu", "CPU", html`${percent(cpu.usedPercent)} <small>busy</small>`, { value: cpu.usedPercent / 100, under: cpu.allocatedMillis / cpu.capacityMillis, note: `${cores(cpu.allocatedMillis)} of ${cores(cpu.capacityMillis)} given to jobs` })}
        ${this.#tile("memory-stick", "Memory", html`${bytes(memory.usedBytes)} <small>of ${bytes(memory.totalBytes)}</small>`, { value: memory.usedBytes / memory.totalBytes, under: memory.allocatedBytes / memory.capacityBytes, note: `${bytes(memory.allocatedBytes)} given to jobs` })}
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

  #running(items) {
    if (!items.length) return empty({ icon: "play", title: "Nothing runs", text: "The whole box is free.", actions: html`<a class="button small" href="/jobs/new">Start a job</a>` });
    return html`<ul class="work-list">${repeat(items, (job) => job.jobId, (job) => html`
      <li>
        <a class="cut row-link" href=${runPage(job)}>${job.name}</a>
        <span class="small nowrap"><time-ago at=${job.startedAt} until=""></time-ago></span>
        <span class="tiny quiet cut">${userName(job.user)} · ${cores(job.cpuMillis)} · ${bytes(job.memoryBytes)}${job.gpus?.length ? ` · ${count(job.gpus.length, "GPU")}` : ""}</span>
        <span class="tiny quiet nowrap">${job.until ? html`ends <time-ago at=${job.until}></time-ago>` : "no time limit"}</span>
      </li>`)}</ul>`;
  }

  #waiting(items) {
    if (!items.length) return empty({ icon: "clock", title: "Nobody waits", text: "A job that does not fit now waits here, with the reason and who holds what it needs." });
    return html`<ul class="work-list">${repeat(items, (job) => job.jobId, (job) => html`
      <li>
        <span class="row-tight"><span class="position" aria-label="Position ${job.position}">${job.position}</span><a class="cut row-link" href=${runPage(job)}>${job.name}</a></span>
        <span class="small nowrap quiet">${job.expectedStart ? html`starts <time-ago at=${job.expectedStart}></time-ago>` : html`since <time-ago at=${job.since} until=""></time-ago>`}</span>
        <span class="small soft">${job.reason}</span>
        <span class="tiny quiet nowrap">${job.machineType}</span>
        ${job.heldBy?.length ? html`<span class="tiny quiet">Held by ${job.heldBy.map((holder, i) => html`${i ? ", " : ""}<a class="link" href=${runPage(holder)}>${holder.name}</a> (${userName(holder.user)})`)}</span>` : nothing}
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
