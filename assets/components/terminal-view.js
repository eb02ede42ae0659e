// <terminal-view .workload=${id} .run=${run id} .why=${words | null}>: the terminals of a job, a notebook or a
// TensorBoard, one beside the other. `why` says why there can be none now.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { count } from "/format.js";
import { Element, reactive } from "/components/element.js";
import { empty, failed, loading } from "/components/states.js";
import { toast } from "/components/toast-list.js";
import "/components/terminal-screen.js";
import "/components/ui-icon.js";

class TerminalView extends Element {
  items = null; // The caller's, in the order of their tabs; `over` is set on those that have ended.
  others = 0;
  visited = new Set();
  current = null;
  problem = null;
  opening = false;

  drawn() {
    // Another run has other terminals.
    const run = this.why ? null : this.run;
    if (run === this.loaded) return;
    this.loaded = run;
    Object.assign(this, { items: null, current: null, visited: new Set(), problem: null });
    if (run) this.#load();
    this.update();
  }

  async #load() {
    const run = this.run;
    try {
      const { items } = await api.terminals(this.workload);
      if (run !== this.loaded) return;
      this.items = items.filter(({ own }) => own).map(({ id }, at) => ({ id, name: at + 1 }));
      this.others = items.length - this.items.length;
      if (this.items.length) this.#show(this.items.at(-1).id);
      // Who comes to the terminals for the first time wants one.
      else await this.#new();
    } catch (problem) {
      this.problem = problem;
    }
    this.update();
  }

  #new = async () => {
    if (this.opening) return;
    this.opening = true;
    this.problem = null;
    this.update();
    const run = this.run;
    try {
      const { id } = await api.openTerminal(this.workload, this.#size());
      if (run !== this.loaded) return;
      this.items ??= [];
      this.items.push({ id, name: Math.max(0, ...this.items.map(({ name }) => name)) + 1 });
      this.#show(id);
    } catch (problem) {
      this.problem = problem;
    } finally {
      this.opening = false;
      this.update();
    }
  };

  /** As large as the terminal beside it, so that the first line it draws fits. */
  #size() {
    const term = this.querySelector("terminal-screen:not([hidden])")?.term;
    return term ? { cols: term.cols, rows: term.rows } : {};
  }

  #show(id) {
    this.current = id;
    this.visited.add(id);
    this.update();
    // After the drawing, which is when it is seen; all of it, as what is new stands at its end.
    requestAnimationFrame(() => {
      this.scrollIntoView({ block: "nearest" });
      this.querySelector("terminal-screen:not([hidden])")?.focusSoon();
    });
  }

  async #close(item) {
    if (!item.over) {
      try {
        await api.closeTerminal(this.workload, item.id);
      } catch (problem) {
        // It has ended by itself meanwhile.
        if (problem.status !== 404 && problem.status !== 409) return toast(problem.detail ?? problem.message, "bad");
      }
    }
    const at = this.items.indexOf(item);
    this.items.splice(at, 1);
    this.visited.delete(item.id);
    if (this.current !== item.id) return this.update();
    this.current = null;
    const next = this.items[Math.min(at, this.items.length - 1)];
    if (next) this.#show(next.id);
    this.update();
  }

  view() {
    if (this.why) return html`<div class="card">${empty({ icon: "terminal", title: "No terminal here now", text: this.why })}</div>`;
    const { items, problem } = this;
    if (!items) return problem ? failed(problem, () => this.#retry()) : loading(3);
    return html`
      ${problem ? failed(problem, this.#new) : nothing}
      ${items.length ? this.#terminals(items) : this.#none()}`;
  }

  #retry() {
    this.loaded = undefined;
    this.update();
  }

  #none() {
    if (this.opening) return loading(3);
    const open = html`<button class="button primary" @click=${this.#new}><ui-icon name="plus" size="s"></ui-icon>Open a terminal</button>`;
    return html`<div class="card">${empty({ icon: "terminal", title: "No terminal is open", text: "A shell inside the container, beside what runs there. It stays for a while when you leave the page.", actions: open })}</div>`;
  }

  #terminals(items) {
    return html`
      <div class="bar" role="tablist" aria-label="Terminals">
        ${repeat(items, ({ id }) => id, (item) => html`
          <span class="pane ${item.over ? "over" : ""}" data-current=${item.id === this.current ? "true" : nothing}>
            <button type="button" role="tab" aria-selected=${item.id === this.current ? "true" : "false"} @click=${() => this.#show(item.id)}><ui-icon name="terminal" size="s"></ui-icon>${item.name}</button>
            <button type="button" class="close" aria-label=${`Close terminal ${item.name}`} title="Close: what runs in it is hung up" @click=${() => this.#close(item)}><ui-icon name="x" size="s"></ui-icon></button>
          </span>`)}
        <button type="button" class="button small ghost icon-only" aria-label="New terminal" title="New terminal" ?disabled=${this.opening} @click=${this.#new}><ui-icon name="plus"></ui-icon></button>
        <span class="grow"></span>
        ${this.others ? html`<span class="tiny quiet">${count(this.others, "terminal")} of others</span>` : nothing}
      </div>
      <div class="screens">
        ${repeat(items.filter(({ id }) => this.visited.has(id)), ({ id }) => id, (item) => html`
          <terminal-screen role="tabpanel" aria-label=${`Terminal ${item.name}`} .workload=${this.workload} .terminal=${item.id} ?hidden=${item.id !== this.current}
            @ended=${() => { item.over = true; this.update(); }} @leave=${() => this.querySelector('[role="tab"][aria-selected="true"]')?.focus()}></terminal-screen>`)}
      </div>
      <div class="foot"><span>Ctrl+C copies what is selected and interrupts otherwise, Ctrl+V pastes</span><span>Shift+Esc leaves the terminal</span></div>`;
  }
}
reactive(TerminalView, ["workload", "run", "why"]);
customElements.define("terminal-view", TerminalView);
