// <job-charts .job=${…}>: every chart that the job's output names, live while it runs.
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
    const known = new Map((this.charts?.value ?? []).map((chart) => [chart.name, chart]));
    return Promise.all(
      items.map((item) => {
        const before = known.get(item.name);
        return before?.total === item.points ? before : api.chart(this.job.id, item.name, POINTS);
      }),
    );
  }

  view() {
    return this.charts.show((charts) => (charts.length ? html`<div class="chart-grid">${repeat(charts, (chart) => chart.name, (chart) => this.#chart(chart))}</div>` : this.#none()));
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
        ${empty({ icon: "chart-line", title: "No charts", text: "Print a line of JSON with chart, x and y, and it becomes a point here as the job runs." })}
        <div class="card-body"><code-block label="Example" .text=${EXAMPLE}></code-block></div>
      </div>`;
  }
}

reactive(JobCharts, ["job"]);
customElements.define("job-charts", JobCharts);
