// <job-table .jobs=${…}>: jobs as rows; the whole row leads to the job. With `runs` they are told apart by
// their ids, for all are called the same; with `no-project` the project goes without saying.
import { html, nothing, repeat } from "/html.js";
import { commandText } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { isFinished } from "/components/job-words.js";
import "/components/state-chip.js";
import "/components/time-ago.js";

class JobTable extends Element {
  view() {
    return html`
      <div class="table-wrap">
        <table>
          <thead>
            <tr><th>${this.hasAttribute("runs") ? "Run" : "Job"}</th><th>State</th>${this.hasAttribute("no-project") ? nothing : html`<th class="hide-narrow">Project</th>`}<th class="hide-narrow">Machine</th><th class="number hide-narrow">Ran</th><th class="number">Made</th></tr>
          </thead>
          <tbody>${repeat(this.jobs ?? [], (job) => job.id, (job) => this.#row(job))}</tbody>
        </table>
      </div>`;
  }

  #row(job) {
    return html`
      <tr class="linked" data-job=${job.id}>
        <td>
          <div class="job-name">
            <span class="row-tight">
              <a class="row-link cut" href="/jobs/${job.id}">${this.hasAttribute("runs") ? job.id : job.name}</a>
              ${job.tags?.map((tag) => html`<a class="tag" href="/jobs?tag=${encodeURIComponent(tag)}">${tag}</a>`)}
            </span>
            <span class="tiny quiet cut mono">${commandText(job.command) || job.image}</span>
          </div>
        </td>
        <td>
          <state-chip state=${job.state} phase=${job.phase ?? ""}></state-chip>
          ${isFinished(job) && job.exitCode ? html`<div class="tiny quiet">exit code ${job.exitCode}</div>` : nothing}
        </td>
        ${this.hasAttribute("no-project") ? nothing : html`<td class="hide-narrow"><a class="soft" href="/projects/${job.project.id}">${job.project.name}</a></td>`}
        <td class="hide-narrow nowrap soft">${job.machineType}${job.gpus?.length ? html`<span class="tiny quiet"> · GPU ${job.gpus.map((gpu) => gpu.index ?? "?").join(", ")}</span>` : nothing}</td>
        <td class="number hide-narrow">${job.startedAt ? html`<time-ago at=${job.startedAt} until=${job.finishedAt ?? ""}></time-ago>` : html`<span class="quiet">–</span>`}</td>
        <td class="number quiet"><time-ago at=${job.createdAt}></time-ago></td>
      </tr>`;
  }
}

reactive(JobTable, ["jobs"]);
customElements.define("job-table", JobTable);
