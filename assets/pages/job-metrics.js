// <job-metrics .job=${…}>: what the job used of the box over time.
import { html, nothing } from "/html.js";
import uPlot from "/vendor/uplot@1.6.32/dist/uPlot.esm.js";
import { api } from "/api.js";
import { bytes, figure } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { isFinished } from "/components/job-words.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import "/components/line-chart.js";

// Samples are taken every few seconds and are no events.
const REFRESH_MILLIS = 5000;
const POINTS = 500;

const perSecond = (value) => (value === null || value === undefined ? "–" : `${bytes(value)}/s`);
const percent = (value) => (value === null || value === undefined ? "–" : `${figure(Math.round(value * 10) / 10)} %`);
const celsius = (value) => (value === null || value === undefined ? "–" : `${figure(value)} °C`);
const watts = (value) => (value === null || value === undefined ? "–" : `${figure(Math.round(value))} W`);

/** What is drawn together. `rate` turns the engine's ever-growing counters into a speed. */
const CHARTS = [
  { title: "CPU", note: "100 % is one core", format: percent, series: [["cpuPercentage", "cpu"]] },
  { title: "Memory", format: bytes, binary: true, series: [["memoryUsage", "used"], ["memoryLimit", "limit", [6, 4]]] },
  { title: "Network", format: perSecond, binary: true, rate: true, series: [["networkReceived", "received"], ["networkSent", "sent"]] },
  { title: "Block I/O", format: perSecond, binary: true, rate: true, series: [["blockRead", "read"], ["blockWritten", "written"]] },
  { title: "GPU use", format: percent, ceiling: 100, series: [["gpuUtilization", "use"]] },
  { title: "GPU memory", format: bytes, binary: true, series: [["gpuMemoryUsed", "used"], ["gpuMemoryTotal", "total", [6, 4]]] },
  { title: "GPU temperature", format: celsius, series: [["gpuTemp", "temperature"]] },
  { title: "GPU power", format: watts, series: [["gpuPowerDraw", "power"]] },
];

class JobMetrics extends Element {
  start() {
    this.metrics = new Resource(this, () => api.metrics(this.job.id, POINTS));
    this.metrics.load();
    this.every(REFRESH_MILLIS, () => {
      const finished = isFinished(this.job);
      if (finished && this.sawEnd) return;
      this.sawEnd = finished;
      this.metrics.load();
    });
  }

  view() {
    return this.metrics.show(({ series }) => {
      const charts = CHARTS.map((chart) => this.#chart(chart, series)).filter((chart) => chart !== nothing);
      if (charts.length) return html`<div class="chart-grid">${charts}</div>`;
      const text = isFinished(this.job) ? "The job ended before the first sample was taken." : "The first samples come a few seconds after the command starts.";
      return html`<div class="card">${empty({ icon: "gauge", title: "No metrics", text })}</div>`;
    });
  }

  #chart(chart, all) {
    const chosen = chart.series.flatMap(([name, label, dash]) =>
      all.filter((series, i) => series.name === name && series.t.length && !(dash && isRepeated(all, i))).map((series) => ({ ...series, dash, label: series.gpu && !dash ? `${this.#gpuName(series.gpu)} ${label}` : label })),
    );
    if (!chosen.length) return nothing;
    const [x, ...values] = uPlot.join(chosen.map(({ t, v }) => [t, chart.rate ? rates(t, v) : v]));
    const series = chosen.map(({ label, dash }, i) => ({ name: label, dash, values: values[i] }));
    return html`
      <section class="card">
        <div class="card-head"><h3>${chart.title}</h3>${chart.note ? html`<span class="tiny quiet">${chart.note}</span>` : nothing}</div>
        <div class="card-body"><line-chart .time=${true} .floor=${0} .ceiling=${chart.ceiling} .binary=${Boolean(chart.binary)} .format=${chart.format} .syncKey=${`metrics-${this.job.id}`} .data=${{ x, series }}></line-chart></div>
      </section>`;
  }

  #gpuName(uuid) {
    const gpu = this.job.gpus?.find((held) => held.uuid === uuid);
    return gpu && gpu.index !== null ? `#${gpu.index}` : uuid.slice(0, 8);
  }
}

/** Whether an earlier series of the name says the same limit: GPUs of one kind share one line. */
function isRepeated(all, at) {
  return all.slice(0, at).some((earlier) => earlier.name === all[at].name && earlier.v.at(-1) === all[at].v.at(-1));
}

/** The growth per second between neighbours; a counter that fell began anew and counts from zero. */
function rates(times, values) {
  return values.map((value, i) => {
    if (i === 0) return null;
    const seconds = times[i] - times[i - 1];
    if (value === null || values[i - 1] === null || seconds <= 0) return null;
    const grown = value - values[i - 1];
    return (grown < 0 ? value : grown) / seconds;
  });
}

reactive(JobMetrics, ["job"]);
customElements.define("job-metrics", JobMetrics);
