// What a job reads and what it leaves: its inputs and outputs with the versions behind them.
import { html, nothing } from "/html.js";
import "/components/state-chip.js";
import "/components/ui-icon.js";

/** Two lists, or nothing for a job without data. Public datasets that every job gets are not told. */
export function jobData(job) {
  const inputs = (job.datasets ?? []).filter(({ path }) => !path?.startsWith("/datasets/"));
  const outputs = job.outputs ?? [];
  if (!inputs.length && !outputs.length) return nothing;
  return html`
    <div class="job-data">
      ${inputs.length ? html`<section aria-label="Inputs"><h3>Inputs</h3><ul>${inputs.map(input)}</ul></section>` : nothing}
      ${outputs.length ? html`<section aria-label="Outputs"><h3>Outputs</h3><ul>${outputs.map(output)}</ul></section>` : nothing}
    </div>`;
}

function input({ ref, name, dataset, version, path }) {
  return html`<li><ui-icon name="database" size="s"></ui-icon><code>${path ?? `/inputs/${name}`}</code><span class="quiet">is</span>${versionLink(ref, dataset, version)}</li>`;
}

function output({ ref, name, dataset, version, state, message }) {
  return html`
    <li><ui-icon name="arrow-down-to-line" size="s"></ui-icon><code>/outputs/${name}</code><span class="quiet">${version ? "became" : "goes to"}</span>${versionLink(ref, dataset, version)}${state ? html`<state-chip state=${state}></state-chip>` : nothing}
      ${message ? html`<span class="small ${state === "failed" ? "wrong" : "quiet"}">${message}</span>` : nothing}</li>`;
}

function versionLink(ref, dataset, version) {
  const label = version ? `${ref.split(":")[0]}:${version}` : ref;
  return html`<a class="link" href="/datasets/${dataset}${version ? `/versions/${version}` : ""}" title="Asked for as ${ref}">${label}</a>`;
}
