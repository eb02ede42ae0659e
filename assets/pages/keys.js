// Access keys: made with a scope and an end, shown once, revoked at once. And what else the
// original gradient command line needs to find this box.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { userName } from "/format.js";
import { confirm } from "/components/confirm-dialog.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import { empty, failed } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/code-block.js";
import "/components/copy-button.js";
import "/components/time-ago.js";

const DAY_SECONDS = 86_400;
const SCOPES = [["write", "Write: read, and submit and change jobs"], ["read", "Read: look, and nothing else"], ["admin", "Admin: everything, keys included"]];
const LIVES = [[30, "30 days"], [90, "90 days"], [365, "A year"], [0, "No end"]];

export default class KeysPage extends Page {
  problem = null;
  made = null;

  start() {
    this.heading = "Keys";
    this.keys = new Resource(this, () => api.keys({ limit: 500 }));
    this.variables = new Resource(this, () => api.gradientEnvironment());
    this.keys.load();
    this.variables.load();
    this.watch(["key"], () => this.keys.refresh());
  }

  #create = async (event) => {
    event.preventDefault();
    const form = event.target;
    const { name, scope, days } = Object.fromEntries(new FormData(form));
    try {
      this.made = await api.createKey({ name: name.trim(), scope, ...(Number(days) ? { expiresInSeconds: Number(days) * DAY_SECONDS } : {}) });
      this.problem = null;
      form.reset();
      this.keys.load();
    } catch (problem) {
      this.problem = problem;
    }
    this.update();
  };

  async #revoke(key) {
    const sure = await confirm({ title: `Revoke ${key.name}?`, text: key.current ? "You are signed in with this key and will be signed out." : "What uses it is refused from now on, and open streams end.", action: "Revoke" });
    if (!sure) return;
    try {
      await api.revokeKey(key.id);
      toast(`${key.name} was revoked.`);
      this.keys.load();
    } catch (problem) {
      toast(problem.detail, "bad");
    }
  }

  view() {
    return html`
      <header class="page-head"><div><h1>Keys</h1><p>A key signs in here and goes with every request from a terminal or a script, as <code>Authorization: Bearer gdk_…</code></p></div></header>
      <div class="stack">
        ${this.made ? this.#made() : nothing}
        <form class="card inline-form" @submit=${this.#create}>
          <div class="field"><label for="name">Name</label><input id="name" name="name" placeholder="laptop" required autocomplete="off" aria-invalid=${this.problem?.field === "name" ? "true" : nothing}></div>
          <div class="field wide"><label for="scope">Scope</label><select id="scope" name="scope">${SCOPES.map(([value, words]) => html`<option value=${value}>${words}</option>`)}</select></div>
          <div class="field"><label for="days">Lives for</label><select id="days" name="days">${LIVES.map(([days, words]) => html`<option value=${days} ?selected=${days === 90}>${words}</option>`)}</select></div>
          <button class="button primary">Create</button>
          ${this.problem ? html`<div class="wrong">${failed(this.problem)}</div>` : nothing}
        </form>
        <div class="card">${this.keys.show(({ items }) => (items.length ? this.#table(items) : empty({ icon: "key-round", title: "No keys", text: "Make one above for a terminal or a script." })))}</div>
        <section class="card">
          <div class="card-head"><h2>The gradient command line</h2></div>
          <div class="card-body stack">
            <p class="soft">The original <code>gradient</code> client works with this box, unchanged. These lines point it here; <code>gradientd gradient-env</code> prints them, too.</p>
            ${this.variables.show((variables) => html`<code-block label="Variables of the gradient command line" .text=${exportsOf(variables, this.made?.key)}></code-block>`)}
            <p class="soft">Metrics come by HTTPS alone. Unless the admin gave this box a certificate that your machine trusts, fetch <a href="/api/v1/ca.pem" download="gradientd-ca.pem">the certificate of its authority</a>, here together with the roots that your system trusts, because the variable replaces them:</p>
            <code-block label="Trust of the gradient command line" .text=${trustOf(location.origin)}></code-block>
          </div>
        </section>
      </div>`;
  }

  #made() {
    return html`
      <div class="new-key" role="status">
        <div class="spread"><strong>${this.made.name} is ready. This is the only time it is shown.</strong><button class="button small ghost icon-only" aria-label="Hide the key" @click=${() => { this.made = null; this.update(); }}><ui-icon name="x"></ui-icon></button></div>
        <div class="row"><output>${this.made.key}</output><copy-button label="Copy the key" .text=${this.made.key}></copy-button></div>
      </div>`;
  }

  #table(items) {
    return html`
      <div class="table-wrap"><table>
        <thead><tr><th>Name</th><th>Scope</th><th class="hide-narrow">User</th><th class="number hide-narrow">Last used</th><th class="number">Ends</th><th><span class="visually-hidden">Actions</span></th></tr></thead>
        <tbody>${repeat(items, (key) => key.id, (key) => html`
          <tr>
            <td><span class="row-tight"><strong>${key.name}</strong>${key.current ? html`<span class="tag">this session</span>` : nothing}</span></td>
            <td class="soft">${key.scope}</td>
            <td class="soft hide-narrow">${userName(key.user)}</td>
            <td class="number quiet hide-narrow">${key.lastUsedAt ? html`<time-ago at=${key.lastUsedAt}></time-ago>` : "never"}</td>
            <td class="number quiet">${key.revokedAt ? html`revoked <time-ago at=${key.revokedAt}></time-ago>` : key.expiresAt ? html`<time-ago at=${key.expiresAt}></time-ago>` : "never"}</td>
            <td class="number">${key.revokedAt ? nothing : html`<button class="button small ghost danger" aria-label="Revoke ${key.name}" @click=${() => this.#revoke(key)}>Revoke</button>`}</td>
          </tr>`)}</tbody>
      </table></div>`;
  }
}
/** The lines that a shell reads; with the key that was just made, for it is not shown again. */
function exportsOf(variables, key = "gdk_…") {
  return [...variables, { name: "PAPERSPACE_API_KEY", value: key }].map(({ name, value }) => `export ${name}=${value}`).join("\n");
}
/** The lines that fetch the authority's certificate, and name it to both libraries of the client. */
function trustOf(origin) {
  return [
    `curl -fsS ${origin}/api/v1/ca.pem -o ~/gradientd-ca.pem`,
    "cat /etc/ssl/certs/ca-certificates.crt >> ~/gradientd-ca.pem",
    "export REQUESTS_CA_BUNDLE=~/gradientd-ca.pem WEBSOCKET_CLIENT_CA_BUNDLE=~/gradientd-ca.pem",
  ].join("\n");
}

customElements.define("keys-page", KeysPage);
