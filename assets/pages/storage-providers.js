// <storage-providers ?admin>: where datasets may lie: the box's own disk and buckets that were added.
import { html, nothing, repeat } from "/html.js";
import { addresses, api } from "/api.js";
import { postAsCurl } from "/format.js";
import { events } from "/events.js";
import { confirm } from "/components/confirm-dialog.js";
import { Element } from "/components/element.js";
import { askForm, field } from "/components/form-dialog.js";
import { providerIcon } from "/components/provider-words.js";
import { Resource } from "/components/resource.js";
import { empty } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/code-block.js";
import "/components/time-ago.js";
import "/components/ui-icon.js";

const EXAMPLE = { name: "lab-bucket", type: "s3", bucket: "research-data", region: "eu-central-1", accessKeyId: "AKIA…", secretAccessKey: "…" };

class StorageProviders extends Element {
  checking = new Set();

  start() {
    this.providers = new Resource(this, api.storageProviders);
    this.providers.load();
    this.onRemoved(events.watch(["storage_provider"], () => this.providers.refresh()));
  }

  view() {
    const admin = this.hasAttribute("admin");
    return html`
      <div class="card">
        ${this.providers.show(({ items }) => html`
          ${this.#table(items, admin)}
          ${items.some(({ type }) => type === "s3") ? nothing : html`
            ${empty({ icon: "cloud", title: "No buckets", text: admin ? "Add an S3-compatible bucket, and datasets can lie there as ordinary files that any S3 tool reads." : "An admin can add an S3-compatible bucket, and datasets can lie there." })}
            ${admin ? html`<div class="card-body stack-s"><span class="small quiet">From a terminal:</span><code-block label="New provider as curl" .text=${postAsCurl(addresses.storageProviders(), EXAMPLE)}></code-block></div>` : nothing}`}`)}
        ${admin ? html`<div class="more"><button class="button small" @click=${this.#add}><ui-icon name="plus" size="s"></ui-icon>Add a bucket</button></div>` : nothing}
      </div>`;
  }

  #table(items, admin) {
    if (!items.length) return nothing;
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Name</th><th class="hide-narrow">Place</th><th>Last check</th><th><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>${repeat(items, ({ id }) => id, (provider) => html`
          <tr>
            <td><span class="row-tight"><ui-icon name=${providerIcon(provider.type)}></ui-icon><strong class="nowrap">${provider.name}</strong></span></td>
            <td class="soft hide-narrow">${provider.type === "managed" ? "the disk of this box" : html`<code>${provider.bucket}</code> <span class="quiet small">${provider.endpoint ?? `Amazon S3, ${provider.region ?? "default region"}`}</span>`}</td>
            <td class="small">${this.#check(provider)}</td>
            <td class="number"><span class="row-tight end">
              <button class="button small ghost icon-only" ?disabled=${this.checking.has(provider.id)} @click=${() => this.#checkAgain(provider)} aria-label="Check ${provider.name} again" title="Check again"><ui-icon name="refresh-cw" size="s"></ui-icon></button>
              ${admin && provider.type === "s3" ? html`<button class="button small ghost danger icon-only" @click=${() => this.#delete(provider)} aria-label="Delete ${provider.name}" title="Delete"><ui-icon name="trash-2" size="s"></ui-icon></button>` : nothing}
            </span></td>
          </tr>`)}</tbody>
      </table></div>`;
  }

  #check(provider) {
    if (this.checking.has(provider.id)) return html`<span class="quiet" role="status">writing, reading and deleting a file…</span>`;
    if (provider.checkError) return html`<span class="wrong">${provider.checkError}</span>`;
    if (!provider.checkedAt) return html`<span class="quiet">not checked yet</span>`;
    return html`<span class="right row-tight"><ui-icon name="check" size="s"></ui-icon>works, <time-ago at=${provider.checkedAt}></time-ago></span>`;
  }

  #add = async () => {
    const made = await askForm({
      title: "Add a bucket",
      text: "It is checked first: a small file is written, read and deleted. The secret key is kept encrypted and never shown.",
      action: "Check and add",
      wide: true,
      body: ({ invalid }) => {
        const input = (name, placeholder, more = {}) => html`<input id="provider-${name}" name=${name} class=${name === "name" ? "" : "mono"} type=${more.type ?? "text"} placeholder=${placeholder} ?required=${more.required} ?autofocus=${name === "name"} spellcheck="false" autocomplete="off" aria-invalid=${invalid(name)}>`;
        return html`<div class="two">
          ${field("provider-name", "Name", input("name", "lab-bucket", { required: true }), "What datasets say.")}
          ${field("provider-bucket", "Bucket", input("bucket", "research-data", { required: true }))}
          ${field("provider-endpoint", "Endpoint", input("endpoint", "https://s3.example.org"), "Left empty for Amazon's own.")}
          ${field("provider-region", "Region", input("region", "eu-central-1"))}
          ${field("provider-accessKeyId", "Access key id", input("accessKeyId", "AKIA…", { required: true }))}
          ${field("provider-secretAccessKey", "Secret access key", input("secretAccessKey", "", { type: "password", required: true }))}</div>
          ${field("provider-pathStyle", "The bucket's name goes into", html`<select id="provider-pathStyle" name="pathStyle"><option value="">the path where an endpoint is given, else the host</option><option value="true">the path</option><option value="false">the host</option></select>`)}`;
      },
      submit: ({ pathStyle, ...texts }) => {
        const given = Object.entries(texts).map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
        return api.createProvider({ type: "s3", ...Object.fromEntries(given), ...(pathStyle ? { pathStyle: pathStyle === "true" } : {}) });
      },
    });
    if (!made) return;
    toast(`${made.name} was checked and added.`);
    this.providers.load();
  };

  async #checkAgain(provider) {
    this.checking.add(provider.id);
    this.update();
    try {
      const checked = await api.checkProvider(provider.id);
      if (checked?.checkError) toast(`${provider.name}: ${checked.checkError}`, "bad");
      else toast(`${provider.name} works.`);
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.checking.delete(provider.id);
    this.providers.load();
  }

  async #delete(provider) {
    const sure = await confirm({ title: `Delete ${provider.name}?`, text: "What lies in the bucket stays there. It is refused while a dataset uses it." });
    if (!sure) return;
    try {
      await api.deleteProvider(provider.id);
      toast(`${provider.name} was deleted.`);
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.providers.load();
  }
}
customElements.define("storage-providers", StorageProviders);
