// <app-shell>: the frame around every page: navigation, who is signed in, whether the box is heard.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { events } from "/events.js";
import { go } from "/router.js";
import { Element, reactive } from "/components/element.js";
import { showHelp } from "/components/keyboard-help.js";
import { failed } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/ui-icon.js";

const PLACES = [
  { path: "/", name: "Overview", icon: "gauge" },
  { path: "/jobs", name: "Jobs", icon: "layers" },
  { path: "/notebooks", name: "Notebooks", icon: "notebook-text" },
  { path: "/experiments", name: "Experiments", icon: "rotate-ccw" },
  { path: "/tensorboards", name: "TensorBoards", icon: "chart-line" },
  { path: "/projects", name: "Projects", icon: "folder" },
  { path: "/datasets", name: "Datasets", icon: "database" },
  { path: "/storage", name: "Storage", icon: "hard-drive" },
  { path: "/secrets", name: "Secrets", icon: "lock" },
  { path: "/keys", name: "Keys", icon: "key-round" },
];
const THEMES = { system: ["monitor", "as the system"], light: ["sun", "light"], dark: ["moon", "dark"] };
const BANNER_DELAY_MILLIS = 1500; // A break shorter than this is not worth a word.

class AppShell extends Element {
  outlet = Object.assign(document.createElement("main"), { id: "main", tabIndex: -1 });
  path = location.pathname;
  broken = false;

  start() {
    this.onRoute = (event) => this.#arrived(event.detail);
    document.addEventListener("route-changed", this.onRoute);
    events.addEventListener("state", (event) => this.#heard(event.detail));
  }

  #arrived(route) {
    this.path = route.path;
    this.update();
  }

  #heard(state) {
    clearTimeout(this.breaking);
    if (state === "broken") this.breaking = setTimeout(() => this.#setBroken(true), BANNER_DELAY_MILLIS);
    else this.#setBroken(false);
  }

  #setBroken(broken) {
    this.broken = broken;
    this.update();
  }

  view() {
    const session = this.session;
    this.classList.toggle("bare", !session);
    return html`
      <a class="skip-link" href="#main" @click=${this.#skip}>Skip to the content</a>
      ${session ? this.#side(session) : nothing}
      <div class="content">
        <div role="status">${this.broken && session ? html`<div class="link-banner"><ui-icon name="unplug"></ui-icon>The box is not heard. Trying to reconnect; what you see may be old.</div>` : nothing}</div>
        ${this.startProblem ? html`<div class="empty">${failed(this.startProblem, () => location.reload())}</div>` : nothing}
        ${this.outlet}
      </div>
      <toast-list></toast-list>`;
  }

  #side(session) {
    const theme = document.documentElement.dataset.theme ?? "system";
    const [themeIcon, themeName] = THEMES[theme];
    return html`
      <header class="side">
        <a class="brand" href="/"><img src="/favicon.svg" alt="" width="22" height="22">gradientd</a>
        <div class="side-new"><a class="button primary wide" href="/jobs/new"><ui-icon name="plus"></ui-icon>New job</a></div>
        <nav class="nav" aria-label="Main">
          ${PLACES.map(({ path, name, icon }) => html`<a href=${path} aria-current=${this.#isCurrent(path) ? "page" : nothing}><ui-icon name=${icon}></ui-icon>${name}</a>`)}
        </nav>
        <div class="side-foot">
          <div class="side-tools">
            <button class="button ghost icon-only" @click=${this.#nextTheme} aria-label="Theme: ${themeName}. Change." title="Theme: ${themeName}"><ui-icon name=${themeIcon}></ui-icon></button>
            <button class="button ghost icon-only hide-narrow" @click=${showHelp} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)"><ui-icon name="keyboard"></ui-icon></button>
          </div>
          <div class="account">
            <div class="who"><span class="cut">${session.user.name}</span><span class="tiny quiet cut">${session.team.name} · ${session.scope}</span></div>
            <button class="button ghost icon-only" @click=${this.#signOut} aria-label="Sign out" title="Sign out"><ui-icon name="log-out"></ui-icon></button>
          </div>
        </div>
      </header>`;
  }

  #isCurrent(path) {
    if (path === "/") return this.path === "/";
    return this.path === path || (this.path.startsWith(`${path}/`) && this.path !== "/jobs/new");
  }

  #skip = (event) => {
    event.preventDefault();
    this.outlet.focus();
  };

  #nextTheme = () => {
    const names = Object.keys(THEMES);
    const root = document.documentElement;
    const next = names[(names.indexOf(root.dataset.theme ?? "system") + 1) % names.length];
    if (next === "system") {
      delete root.dataset.theme;
      localStorage.removeItem("theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("theme", next);
    }
    document.dispatchEvent(new CustomEvent("theme-changed"));
    this.update();
  };

  #signOut = async () => {
    try {
      await api.signOut();
    } catch (problem) {
      if (problem.status !== 401) return toast(problem.detail, "bad");
    }
    events.close();
    this.session = null;
    go("/sign-in");
  };
}

reactive(AppShell, ["session", "startProblem"]);
customElements.define("app-shell", AppShell);
