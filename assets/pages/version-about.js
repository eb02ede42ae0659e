// <version-about .home=${dataset} .version=${version}>: its metadata, who made it, who read it, and how to name it.
import { html, nothing } from "/html.js";
import { addresses, api } from "/api.js";
import { fetchAsCurl, jobAsCurl, shellQuote } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { RUN_KINDS, runIcon, runName } from "/components/run-name.js";
import { empty } from "/components/states.js";
import "/components/code-block.js";
import "/components/state-chip.js";

class VersionAbout extends Element {
  start() {
    this.lineage = new Resource(this, () => api.versionLineage(this.home.id, this.version.version));
    this.lineage.load();
  }

  view() {
    const { home, version } = this;
    const job = { image: "python:3.12-slim", command: `ls -l /inputs/${home.name}`, datasets: [{ ref: version.reference, name: home.name }] };
    const metadata = Object.entries(version.metadata ?? {});
    return html`
      <div class="columns about">
        <section class="section"><h2>Came from, went to</h2><div class="card card-body">${this.lineage.show((lineage) => this.#lineage(lineage))}</div></section>
        <section class="section"><h2>Metadata</h2><div class="card card-body">${metadata.length ? html`<dl class="definition">${metadata.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>` : empty({ icon: "tag", title: "No metadata", text: "Edit adds facts of your own, such as a licence or a source." })}</div></section>
        <section class="section"><h2>In a job</h2><code-block label="Job with this version as curl" .text=${jobAsCurl(addresses.jobs(), job)}></code-block></section>
        <section class="section"><h2>To this machine</h2><code-block label="Download as curl" .text=${`mkdir -p ${shellQuote(home.name)}\n${fetchAsCurl(`${addresses.version(home.id, version.version)}.tar`)} \\\n  | tar -x -C ${shellQuote(home.name)}`}></code-block></section>
      </div>`;
  }

  #lineage({ parent, children, madeBy, madeFrom = [], readBy }) {
    const version = (name) => html`<a class="link mono" href="/datasets/${this.home.id}/versions/${nameOf(name)}">${nameOf(name)}</a>`;
    const state = ({ state, gone }) => (state && !gone ? html`<state-chip state=${state}></state-chip>` : html`<span class="quiet small">deleted</span>`);
    const job = ({ job: id, name, ...rest }) => html`<span class="row">${rest.state ? html`<a class="link" href="/jobs/${id}">${name}</a>` : name}${state(rest)}</span>`;
    // Whether a notebook or a TensorBoard runs just now says nothing about what it read.
    const reader = ({ kind, job: jobId, notebook: notebookId, tensorboard: tensorboardId, name, ...rest }) => {
      const run = { kind, jobId, notebookId, tensorboardId, name, own: !rest.gone };
      return html`<span class="row">${runIcon(run)}${rest.gone ? name : runName(run)}${kind === "job" || rest.gone ? state(rest) : html`<span class="quiet small">${RUN_KINDS[kind].word}</span>`}</span>`;
    };
    return html`
      <dl class="definition">
        <dt>Begun from</dt><dd>${parent ? version(parent) : "nothing"}</dd>
        <dt>Made by</dt><dd>${madeBy ? job(madeBy) : "hand"}</dd>
        ${madeFrom.length ? html`<dt>Files from</dt><dd><div class="stack-s">${madeFrom.map(({ root, words }) => html`<a class="link" href=${root === "storage" ? "/storage/files" : `/notebooks/${root}`}>${words}</a>`)}</div></dd>` : nothing}
        <dt>Continued in</dt><dd>${children.length ? children.map((child) => html`${version(child)} `) : "no version yet"}</dd>
        <dt>Read by</dt><dd>${readBy.length ? html`<div class="stack-s">${readBy.map(reader)}</div>` : "nobody yet"}</dd>
        ${this.version.path ? html`<dt>On the disk</dt><dd><code>${this.version.path}</code></dd>` : nothing}
      </dl>`;
  }
}

/** A version's own part of what may be a whole reference. */
function nameOf(version) {
  const text = version.version ?? version;
  return text.slice(text.lastIndexOf(":") + 1);
}

reactive(VersionAbout, ["home", "version"]);
customElements.define("version-about", VersionAbout);
