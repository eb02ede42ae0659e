// Signing in, with a key or by the one-time link that `gradientd sign-in` prints (/sign-in#TOKEN).
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { go } from "/router.js";
import { Page } from "/components/page.js";
import { failed, loading } from "/components/states.js";

export default class SignInPage extends Page {
  problem = null;
  busy = false;

  start() {
    this.heading = "Sign in";
    const token = location.hash.slice(1);
    if (!token) return;
    // The token leaves the address at once: it must not stay in the history or be shared.
    history.replaceState(null, "", location.pathname + location.search);
    this.#enter({ signIn: token });
  }

  async #enter(credentials) {
    Object.assign(this, { busy: true, problem: null, byLink: "signIn" in credentials });
    this.update();
    try {
      await api.signIn(credentials);
      document.dispatchEvent(new CustomEvent("signed-in"));
      go(this.#next(), { replace: true });
    } catch (problem) {
      this.problem = problem;
    }
    this.busy = false;
    this.update();
  }

  /** Only a path of this UI: an address from a link must not lead elsewhere. */
  #next() {
    const wanted = this.route.query.get("next") ?? "/";
    const target = new URL(wanted, location.origin);
    return target.origin === location.origin ? target.pathname + target.search + target.hash : "/";
  }

  #submit = (event) => {
    event.preventDefault();
    const key = new FormData(event.target).get("key").trim();
    if (key) this.#enter({ key });
  };

  view() {
    return html`
      <div class="sign-in">
        <div class="box">
          <header>
            <img src="/favicon.svg" alt="">
            <h1>Sign in to gradientd</h1>
            <p class="quiet">Your own GPUs, the Gradient way.</p>
          </header>
          ${this.busy && this.byLink ? loading(2) : this.#form()}
          <p class="small quiet">On the box, <code>gradientd sign-in</code> prints a link that signs in once. The first key is in <code>admin.key</code> in the data directory.</p>
        </div>
      </div>`;
  }

  #form() {
    return html`
      <form @submit=${this.#submit}>
        ${this.problem ? (this.byLink ? this.#spentLink() : failed(this.problem)) : nothing}
        <div class="field">
          <label for="key">Access key</label>
          <input id="key" name="key" type="password" placeholder="gdk_…" autocomplete="current-password" spellcheck="false" required autofocus>
        </div>
        <button class="button primary" ?disabled=${this.busy}>${this.busy ? "Signing in…" : "Sign in"}</button>
      </form>`;
  }

  #spentLink() {
    if (this.problem.status !== 401) return failed(this.problem);
    return html`<div class="note" data-tone="waiting" role="alert"><ui-icon name="clock"></ui-icon><div>This sign-in link was used already or is too old. Run <code>gradientd sign-in</code> for a new one, or paste a key.</div></div>`;
  }
}
customElements.define("sign-in-page", SignInPage);
