// <line-chart>: lines over time or steps. Properties: x (numbers), series ([{ name, values }]),
// format (value → text), time (whether x is Unix seconds), binary (whether values are bytes), floor
// and ceiling (what the scale always holds), syncKey (charts that share a cursor).
import uPlot from "/vendor/uplot@1.6.32/dist/uPlot.esm.js";
import { figure } from "/format.js";

const HEIGHT = 200;
const COLOURS = 6;
// Ticks at whole minutes and hours, and at whole KiB, MiB and GiB, rather than at round thousands.
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800];
const BINARY_STEPS = Array.from({ length: 52 }, (_, power) => 2 ** power);
const FONT = "11px Geist, system-ui, sans-serif";
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

class LineChart extends HTMLElement {
  #plot = null;
  #shape = "";
  #asked = false;

  connectedCallback() {
    this.setAttribute("role", "img");
    this.resizing = new ResizeObserver(() => this.#plot?.setSize({ width: this.clientWidth, height: HEIGHT }));
    this.resizing.observe(this);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", this.#repaint);
    document.addEventListener("theme-changed", this.#repaint);
    this.#drawSoon();
  }

  disconnectedCallback() {
    this.resizing.disconnect();
    this.scheme.removeEventListener("change", this.#repaint);
    document.removeEventListener("theme-changed", this.#repaint);
    this.#plot?.destroy();
    this.#plot = null;
    this.#shape = "";
  }

  /** Sets what is drawn. Lines keep their colour and the cursor its place while only values change. */
  set data({ x, series }) {
    this.x = x;
    this.series = series;
    const last = series.map(({ name, values }) => `${name} ${this.#text(values.findLast((value) => value !== null))}`);
    this.setAttribute("aria-label", `Chart of ${last.join(", ")}, ${x.length} points`);
    this.#drawSoon();
  }

  #text(value) {
    return (this.format ?? figure)(value);
  }

  #drawSoon() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      if (this.isConnected && this.x) this.#draw();
    });
  }

  #draw() {
    const data = [this.x, ...this.series.map(({ values }) => values)];
    const shape = this.series.map(({ name }) => name).join("\n");
    if (this.#plot && shape === this.#shape) return this.#plot.setData(data);
    this.#plot?.destroy();
    this.#shape = shape;
    this.#plot = new uPlot(this.#options(), data, this);
  }

  #options() {
    const axis = {
      stroke: () => this.#colour("--text-quiet"),
      grid: { stroke: () => this.#colour("--line"), width: 1 },
      ticks: { show: false },
      font: FONT,
    };
    return {
      width: this.clientWidth || 400,
      height: HEIGHT,
      padding: [12, 20, 0, 0],
      cursor: { sync: this.syncKey ? { key: this.syncKey } : undefined, points: { size: 7 }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { range: (_plot, low, high) => this.#range(low, high) } },
      axes: [
        { ...axis, size: 30, gap: 6, incrs: this.time ? TIME_STEPS : undefined, values: (_plot, splits, _axis, _space, step) => splits.map((split) => this.#xText(split, step)) },
        { ...axis, size: 62, gap: 6, incrs: this.binary ? BINARY_STEPS : undefined, values: (_plot, splits) => splits.map((split) => this.#text(split)) },
      ],
      series: [
        { label: this.time ? "time" : "x", value: (plot, value) => this.#xText(value ?? plot.data[0].at(-1), 1) },
        ...this.series.map(({ name, dash }, i) => ({
          label: name,
          stroke: () => this.#colour(dash ? "--text-quiet" : `--series-${(i % COLOURS) + 1}`),
          width: 1.5,
          dash,
          spanGaps: true,
          points: { show: this.x.length < 3 },
          // Without a cursor the legend tells the newest values.
          value: (plot, value, at, index) => this.#text(index === null ? plot.data[at].findLast((known) => known !== null) : value),
        })),
      ],
    };
  }

  #xText(value, step) {
    if (!this.time) return figure(value);
    return (step < 60 ? clockSeconds : clock).format(new Date(value * 1000));
  }

  #range(low, high) {
    if (low === null || high === null) return [0, 1];
    if (this.floor !== undefined) low = Math.min(low, this.floor);
    if (this.ceiling !== undefined) high = Math.max(high, this.ceiling);
    if (low === high) return low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
    const air = (high - low) * 0.06;
    return [low === this.floor ? low : low - air, high === this.ceiling ? high : high + air];
  }

  #colour(name) {
    return getComputedStyle(this).getPropertyValue(name);
  }

  #repaint = () => this.#plot?.redraw();
}
customElements.define("line-chart", LineChart);
