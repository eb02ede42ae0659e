// <gpu-meter .gpu=${…}>: one GPU: how busy, how warm, and who holds it.
import { html, nothing } from "/html.js";
import { bytes, percent, userName } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { runIcon, runName } from "/components/run-name.js";
import "/components/meter-bar.js";
import "/components/ui-icon.js";

class GpuMeter extends Element {
  view() {
    const gpu = this.gpu;
    if (!gpu) return nothing;
    const foreign = gpu.foreign ?? [];
    const holders = gpu.holders ?? [];
    this.dataset.tone = gpu.health !== "healthy" ? "bad" : holders.length ? "held" : foreign.length ? "foreign" : "free";
    return html`
      <div class="spread">
        <div class="row-tight">
          <span class="index" title="Index on this box">${gpu.index}</span>
          <div class="cut">
            <div class="cut"><strong title="${gpu.name} · ${gpu.uuid}">${gpu.name.replace(/^NVIDIA /, "")}</strong></div>
            <div class="tiny quiet cut">${gpu.kind === "mig" ? `MIG ${gpu.migProfile}` : bytes(gpu.memoryBytes)}${gpu.numaNode === null || gpu.numaNode === undefined ? "" : ` · NUMA ${gpu.numaNode}`}</div>
          </div>
        </div>
        <span class="small quiet nowrap" title=${gpu.avoided ? "No job is placed here while other processes use it" : ""}>${this.#standing(gpu, holders, foreign)}</span>
      </div>
      <meter-bar .label=${"Use"} .text=${percent(gpu.utilizationPercent)} .value=${(gpu.utilizationPercent ?? 0) / 100}></meter-bar>
      <meter-bar .label=${"Memory"} .text=${`${bytes(gpu.memoryUsedBytes)} of ${bytes(gpu.memoryBytes)}`} .value=${gpu.memoryUsedBytes / gpu.memoryBytes}></meter-bar>
      <div class="facts">
        ${gpu.temperatureCelsius === null || gpu.temperatureCelsius === undefined ? nothing : html`<span><ui-icon name="thermometer" size="s"></ui-icon>${gpu.temperatureCelsius} °C</span>`}
        ${gpu.powerWatts === null || gpu.powerWatts === undefined ? nothing : html`<span><ui-icon name="zap" size="s"></ui-icon>${Math.round(gpu.powerWatts)}${gpu.powerLimitWatts ? ` of ${Math.round(gpu.powerLimitWatts)}` : ""} W</span>`}
      </div>
      ${gpu.health === "healthy" ? nothing : html`<div class="small"><strong>${gpu.health}</strong>: ${gpu.healthReason ?? "no reason given"}</div>`}
      ${holders.length || foreign.length
        ? html`<div class="holders">
            ${holders.map((run) => html`<div class="row-tight">${runIcon(run)}${runName(run, "link cut")}<span class="quiet nowrap">${userName(run.user)}</span></div>`)}
            ${foreign.map((process) => html`<div class="row-tight" title="Process ${process.pid}, which gradientd did not start"><ui-icon name="terminal" size="s"></ui-icon><span class="cut mono">${process.command ?? `process ${process.pid}`}</span><span class="quiet nowrap">${process.user ?? "unknown"} · ${bytes(process.memoryBytes)}</span></div>`)}
          </div>`
        : nothing}`;
  }

  #standing(gpu, holders, foreign) {
    if (gpu.health !== "healthy") return gpu.health;
    if (holders.length) return "held";
    if (foreign.length) return "others";
    return gpu.avoided ? "avoided" : "free";
  }
}

reactive(GpuMeter, ["gpu"]);
customElements.define("gpu-meter", GpuMeter);
