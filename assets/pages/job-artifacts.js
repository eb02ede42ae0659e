// <job-artifacts .job=${…} .path=${…}>: what the job wrote to /artifacts, by folder.
import { html, nothing, repeat } from "/html.js";
import { addresses, api } from "/api.js";
import { bytes } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { firstPages } from "/components/first-pages.js";
import { isFinished } from "/components/job-words.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import "/components/time-ago.js";
import "/components/ui-icon.js";

const PAGE = 200;
const REFRESH_MILLIS = 5000;
const ICONS = { directory: "folder", file: "file", link: "link" };

class JobArtifacts extends Element {
  pages = 1;

  start() {
    this.listing = new Resource(this, () => firstPages(this.pages, (cursor) => api.artifacts(this.job.id, { path: this.path, limit: PAGE, cursor })));
    this.shownPath = this.path;
    this.listing.load();
    this.every(REFRESH_MILLIS, () => isFinished(this.job) || this.listing.load());
  }

  view() {
    if (this.path !== this.shownPath) {
      this.shownPath = this.path;
      this.pages = 1;
      this.listing.reset();
    }
    return html`
      <div class="card">
        <div class="card-head">
          ${this.#crumbs()}
          <div class="row">
            <a class="button small" href=${addresses.artifactArchive(this.job.id, "zip")} download><ui-icon name="download" size="s"></ui-icon>All as zip</a>
            <a class="button small" href=${addresses.artifactArchive(this.job.id, "tar")} download><ui-icon name="download" size="s"></ui-icon>All as tar</a>
          </div>
        </div>
        ${this.listing.show((listing) => this.#table(listing))}
      </div>`;
  }

  #crumbs() {
    const parts = (this.path ?? "").split("/").filter(Boolean);
    return html`<nav class="crumb-path" aria-label="Folder"><a class="link" href=${this.#folder("")}>/artifacts</a>${parts.map((part, i) => html`<span class="quiet">/</span><a class="link" href=${this.#folder(parts.slice(0, i + 1).join("/"))}>${part}</a>`)}</nav>`;
  }

  #folder(path) {
    return `/jobs/${this.job.id}/artifacts${path ? `?path=${encodeURIComponent(path)}` : ""}`;
  }

  #table({ items, next }) {
    if (!items.length) {
      const text = isFinished(this.job) ? "The job wrote nothing here." : "Nothing yet. What the job writes to /artifacts appears here.";
      return empty({ icon: "folder-open", title: "Empty", text });
    }
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Name</th><th class="number">Size</th><th class="number hide-narrow">Changed</th></tr></thead>
        <tbody>${repeat(items, (item) => item.path, (item) => html`
          <tr class="linked">
            <td><span class="row-tight"><ui-icon name=${ICONS[item.kind] ?? "file"}></ui-icon>${this.#entry(item)}</span></td>
            <td class="number soft">${item.kind === "file" ? bytes(item.sizeBytes) : ""}</td>
            <td class="number quiet hide-narrow"><time-ago at=${item.modifiedAt}></time-ago></td>
          </tr>`)}</tbody>
      </table></div>
      ${next ? html`<div class="more"><button class="button small" @click=${() => { this.pages += 1; this.listing.load(); }}>Show more</button></div>` : nothing}`;
  }

  #entry(item) {
    if (item.kind === "directory") return html`<a class="row-link cut" href=${this.#folder(item.path)}>${item.name}</a>`;
    if (item.kind === "file") return html`<a class="row-link cut" href=${addresses.artifact(this.job.id, item.path)} download>${item.name}</a>`;
    return html`<span class="cut" title="A link is kept as it is and not followed">${item.name}</span>`;
  }
}

reactive(JobArtifacts, ["job", "path"]);
customElements.define("job-artifacts", JobArtifacts);
