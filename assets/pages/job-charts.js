// <job-charts .job=${…}>: every chart that the job's output names or that it pushes, live while it runs.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { count, figure } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { isFinished } from "/components/job-words.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import "/components/code-block.js";
import "/components/line-chart.js";

// Points have no event of their own: a quick training loop would flood every page with them.
const REFRESH_MILLIS = 2000;
const POINTS = 600;
const EXAMPLE = `print(json.dumps({"chart": "loss", "x": step, "y": loss}), flush=True)`;

/** A printed and a pushed chart may share a name. */
const key = ({ source, name }) => `${source} ${name}`;
/** Buckets of histograms make a dozen charts of one metric, and tell little apart. */
const isBucket = ({ source, name }) => source === "pushed" && /_bucket\{/.test(name);

/** A step that is pushed again changes a curve and not the count of its points. */
const isSame = (before, item) => before?.total === item.points && before.y.at(-1) === item.last?.y;

class JobCharts extends Element {
  start() {
    this.charts = new Resource(this, () => this.#fetch());
    this.charts.load();
    this.every(REFRESH_MILLIS, () => this.#refresh());
  }

  /** Once more after the end, for the points that came last. */
  #refresh() {
    const finished = isFinished(this.job);
    if (finished && this.sawEnd) return;
    this.sawEnd = finished;
    this.charts.load();
  }

  async #fetch() {
    const { items } = await api.charts(this.job.id);
    const known = new Map((this.charts?.value ?? []).map((chart) => [key(chart), chart]));
    return Promise.all(
      items
        .filter((item) => !isBucket(item))
        .map((item) => {
          const before = known.get(key(item));
          return isSame(before, item) ? before : api.chart(this.job.id, item.name, item.source, POINTS);
        }),
    );
  }

  view() {
    return this.charts.show((charts) => (charts.length ? html`<div class="chart-grid">${repeat(charts, key, (chart) => this.#chart(chart))}</div>` : this.#none()));
  }

  #chart({ name, x, y, total }) {
    return html`
      <section class="card">
        <div class="card-head"><h3 class="cut">${name}</h3><span class="small quiet nowrap">${figure(y.at(-1))} · ${count(total, "point")}${total > x.length ? html` <span title="Drawn with fewer, chosen so that the shape stays">(${x.length} drawn)</span>` : nothing}</span></div>
        <div class="card-body"><line-chart .data=${{ x, series: [{ name, values: y }] }}></line-chart></div>
      </section>`;
  }

  #none() {
    return html`
      <div class="card">
        ${empty({ icon: "chart-line", title: "No charts", text: "Print a line of JSON with chart, x and y, or push metrics with gradient_utils, and they become points here as the job runs." })}
        <div class="card-body"><code-block label="Example" .text=${EXAMPLE}></code-block></div>
      </div>`;
  }
}

reactive(JobCharts, ["job"]);
customElements.define("job-charts", JobCharts);
