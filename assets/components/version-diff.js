// <version-diff .home=${dataset} .version=${version} .against=${VERSION} .versions=${[…]}>: what a
// version has that another had not, by path. Emits "against" with the version to compare with.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { bytes, integer } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";

const PAGE = 200;
const SIGN = { added: "+", removed: "−", changed: "~" };

class VersionDiff extends Element {
  pages = 1;
  only = "";

  start() {
    this.diff = new Resource(this, () => this.#fetch());
  }

  async #fetch() {
    const items = [];
    let [next, totals] = [null, null];
    for (let i = 0; i < this.pages; i += 1) {
      const page = await api.diff(this.home.id, this.version.version, { against: `${this.home.id}:${this.against}`, limit: PAGE, cursor: next, totals: i === 0 ? true : null });
      items.push(...page.items);
      totals ??= page.totals;
      next = page.next;
      if (!next) break;
    }
    return { items, next, totals };
  }

  view() {
    const others = this.versions.filter(({ version, state }) => state === "committed" && version !== this.version.version);
    if (this.version.state !== "committed") return html`<div class="card">${empty({ icon: "git-compare", title: "Drafts are not compared", text: "Commit this version; then it can be compared with any other." })}</div>`;
    if (!others.length) return html`<div class="card">${empty({ icon: "git-compare", title: "There is nothing to compare with", text: "This is the only committed version of the dataset." })}</div>`;
    if (this.against && this.against !== this.asked) {
      this.asked = this.against;
      this.pages = 1;
      this.diff.reset();
    }
    return html`
      <div class="card">
        <div class="card-head">
          <label class="row-tight"><span class="nowrap soft">Compared with</span>
            <select aria-label="Version to compare with" @change=${(event) => this.dispatchEvent(new CustomEvent("against", { detail: event.target.value }))}>
              ${this.against && others.some(({ version }) => version === this.against) ? nothing : html`<option value=${this.against ?? ""} selected>${this.against ?? "Choose a version"}</option>`}
              ${others.map(({ version, tags, message }) => html`<option value=${version} ?selected=${version === this.against}>${version}${tags.length ? ` (${tags.join(", ")})` : ""}${message ? `: ${message.slice(0, 40)}` : ""}</option>`)}
            </select></label>
          ${this.diff.value?.totals ? this.#totals(this.diff.value.totals) : nothing}
        </div>
        ${this.against ? this.diff.show((diff) => this.#table(diff)) : empty({ icon: "git-compare", title: "Choose a version above", text: "Paths that were added, removed or changed are listed with their sizes." })}
      </div>`;
  }

  #totals({ added, removed, changed, bytesAdded, bytesRemoved }) {
    return html`<div class="row small" role="status"><span data-change="added">+${integer(added)} added</span><span data-change="removed">−${integer(removed)} removed</span><span data-change="changed">~${integer(changed)} changed</span><span class="quiet">${bytes(bytesAdded)} came, ${bytes(bytesRemoved)} went</span></div>`;
  }

  #table({ items, next }) {
    if (!items.length) return empty({ icon: "check", title: "No difference", text: "Both versions hold the same files with the same contents." });
    return html`
      <div class="table-wrap"><table class="diff">
        <thead><tr><th>Path</th><th class="number">Before</th><th class="number">After</th></tr></thead>
        <tbody>${repeat(items, ({ path }) => path, (item) => html`
          <tr><td><span class="row-tight"><b data-change=${item.change} title=${item.change}>${SIGN[item.change]}<span class="visually-hidden">${item.change}</span></b><code class="file-path">${item.path}</code></span></td>
            <td class="number quiet">${item.bytesBefore === null ? "" : bytes(item.bytesBefore)}</td><td class="number soft">${item.bytesAfter === null ? "" : bytes(item.bytesAfter)}</td></tr>`)}</tbody>
      </table></div>
      ${next ? html`<div class="more"><button class="button small" @click=${() => { this.pages += 1; this.diff.load(); }}>Show more</button></div>` : nothing}`;
  }
}

reactive(VersionDiff, ["home", "version", "against", "versions"]);
customElements.define("version-diff", VersionDiff);
