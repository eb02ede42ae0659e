// All datasets, a search, and a dialog for a new one.
import { html, nothing, repeat } from "/html.js";
import { addresses, api } from "/api.js";
import { bytes, integer, postAsCurl } from "/format.js";
import { go } from "/router.js";
import { askForm, field } from "/components/form-dialog.js";
import { ListPage } from "/components/list-page.js";
import { providerIcon, providerWords } from "/components/provider-words.js";
import { empty } from "/components/states.js";
import "/components/code-block.js";
import "/components/time-ago.js";

export default class DatasetsPage extends ListPage {
  start() {
    super.start();
    this.heading = "Datasets";
    this.watch(["dataset", "version"], () => this.list.refresh());
  }

  fetchPage(part) {
    return api.datasets({ q: this.route.query.get("q"), ...part });
  }

  view() {
    const wanted = this.route.query.get("q") ?? "";
    return html`
      <header class="page-head">
        <div><h1>Datasets</h1><p>Files with versions. A committed version never changes, equal files are stored once, and a job reads it under <code>/inputs/NAME</code> without a copy.</p></div>
        <div class="actions"><button class="button primary" @click=${this.#create}><ui-icon name="plus"></ui-icon>New dataset</button></div>
      </header>
      <div class="filters" role="search" aria-label="Filter datasets">
        ${this.search("datasets", "Name or description…")}
      </div>
      <div class="card">${this.list.show(({ items }) => (items.length ? this.#table(items) : this.#none(wanted)))}</div>`;
  }

  #table(items) {
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Name</th><th class="hide-narrow">Stored on</th><th class="number">Versions</th><th class="hide-narrow">Latest</th><th class="number">Size</th><th class="number hide-narrow">Changed</th></tr></thead>
        <tbody>${repeat(items, (dataset) => dataset.id, (dataset) => html`
          <tr class="linked">
            <td><div class="job-name"><span class="row-tight"><a class="row-link cut" href="/datasets/${dataset.id}">${dataset.name}</a>${dataset.public ? html`<span class="tag" title="Every job of every team reads it under /datasets/${dataset.name}">public</span>` : nothing}</span><span class="tiny quiet cut" title=${dataset.description ?? ""}>${dataset.description || dataset.id}</span></div></td>
            <td class="hide-narrow soft"><span class="row-tight"><ui-icon name=${providerIcon(dataset.storageProvider.type)} size="s"></ui-icon><span class="cut">${dataset.storageProvider.name}</span></span></td>
            <td class="number">${integer(dataset.versions)}</td>
            <td class="hide-narrow">${dataset.latest ? html`<code class="small">${dataset.latest}</code>` : html`<span class="quiet">none committed</span>`}</td>
            <td class="number soft">${bytes(dataset.bytes)}</td>
            <td class="number quiet hide-narrow"><time-ago at=${dataset.updatedAt}></time-ago></td>
          </tr>`)}</tbody>
      </table></div>
      ${this.more("Show more")}`;
  }

  #none(wanted) {
    if (wanted) return empty({ icon: "search", title: "No dataset fits", text: "Names and descriptions are searched.", actions: html`<a class="button small" href="/datasets">Show all</a>` });
    return html`
      ${empty({ icon: "database", title: "No datasets yet", text: "Make one, put files into its first version by dragging a folder here or from a terminal, and commit it. Jobs then name it as an input.", actions: html`<button class="button primary" @click=${this.#create}>Make the first one</button>` })}
      <div class="card-body stack-s"><span class="small quiet">From a terminal:</span><code-block label="New dataset as curl" .text=${postAsCurl(addresses.datasets(), { name: "digits" })}></code-block></div>`;
  }

  #create = async () => {
    const session = document.querySelector("app-shell").session;
    const providers = await api.storageProviders().then(({ items }) => items, () => []);
    const made = await askForm({
      title: "New dataset",
      action: "Create",
      body: ({ invalid }) => html`
        ${field("dataset-name", "Name", html`<input id="dataset-name" name="name" class="mono" placeholder="digits" required autocomplete="off" spellcheck="false" autofocus aria-invalid=${invalid("name")}>`, "Jobs and scripts say this name. Letters, digits, dots, dashes and underscores.")}
        ${field("dataset-description", "Description", html`<textarea id="dataset-description" name="description" placeholder="What it holds, and where it comes from"></textarea>`)}
        ${field("dataset-provider", "Stored on", html`<select id="dataset-provider" name="storageProvider" aria-invalid=${invalid("storageProvider")}>${providers.some(({ type }) => type === "managed") ? nothing : html`<option value="" selected>The disk of this box</option>`}${providers.map((provider) => html`<option value=${provider.id} ?selected=${provider.type === "managed"}>${providerWords(provider)}</option>`)}</select>`, html`The disk of the box mounts in no time. A bucket is copied to the box before a job reads it. More under <a class="link" href="/storage">Storage</a>.`)}
        ${session?.scope === "admin" ? html`<label class="check"><input type="checkbox" name="public" aria-invalid=${invalid("public")}><span>Public: every job of every team reads its latest version under <code>/datasets/NAME</code></span></label>` : nothing}`,
      submit: ({ name, description, storageProvider, public: isPublic }) =>
        api.createDataset({ name: name.trim(), ...(description.trim() ? { description: description.trim() } : {}), ...(storageProvider ? { storageProvider } : {}), ...(isPublic ? { public: true } : {}) }),
    });
    if (made) go(`/datasets/${made.id}`);
  };
}
customElements.define("datasets-page", DatasetsPage);
