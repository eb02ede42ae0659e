// <job-spec .job=${…}>: what was asked for, as JSON and as the request that asks for it again.
import { html } from "/html.js";
import { addresses } from "/api.js";
import { jobAsCurl } from "/format.js";
import { Element, reactive } from "/components/element.js";
import "/components/code-block.js";

class JobSpec extends Element {
  view() {
    const spec = this.job.spec ?? {};
    return html`
      <div class="stack">
        <section class="stack-s"><h2>Submitted</h2><code-block label="Spec as JSON" .text=${JSON.stringify(spec, null, 2)}></code-block></section>
        <section class="stack-s"><h2>Again, from a terminal</h2><p class="quiet small">Passwords are not kept in the spec: give them anew, best as <code>secret:NAME</code>.</p><code-block label="Request as curl" .text=${jobAsCurl(addresses.jobs(), spec)}></code-block></section>
      </div>`;
  }
}

reactive(JobSpec, ["job"]);
customElements.define("job-spec", JobSpec);
