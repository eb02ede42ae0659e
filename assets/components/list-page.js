// A page that lists what there is, as the query of its address says: a search, filters, and more at a press.
import { html, nothing } from "/html.js";
import { setQuery } from "/router.js";
import { firstPages } from "/components/first-pages.js";
import { Page } from "/components/page.js";
import { Resource } from "/components/resource.js";
import "/components/ui-icon.js";

const PAGE = 50;
const TYPING_MILLIS = 250;

/** What lists things has `fetchPage({ cursor, limit })`, which answers one page of them; they are in `list`. */
export class ListPage extends Page {
  pages = 1;

  start() {
    this.list = new Resource(this, () => firstPages(this.pages, (cursor) => this.fetchPage({ cursor, limit: PAGE })));
    this.list.load();
    this.onRemoved(() => clearTimeout(this.typing));
  }

  routeChanged() {
    this.pages = 1;
    this.list.load();
    this.update();
  }

  #typed = (event) => {
    const text = event.target.value;
    clearTimeout(this.typing);
    this.typing = setTimeout(() => setQuery({ q: text }), TYPING_MILLIS);
  };

  #more = () => {
    this.pages += 1;
    this.list.load();
  };

  /** The field that is searched with, for `things`. */
  search(things, placeholder = "Name or id…") {
    return html`<div class="search"><ui-icon name="search" size="s"></ui-icon><input type="search" data-search placeholder=${placeholder} aria-label="Search ${things}" .value=${this.route.query.get("q") ?? ""} @input=${this.#typed}><kbd aria-hidden="true">/</kbd></div>`;
  }

  /** The tag that everything shown has, to be taken away. */
  tagFilter() {
    const tag = this.route.query.get("tag");
    return tag ? html`<button class="button small" @click=${() => setQuery({ tag: null }, { replace: false })} aria-label="Remove the filter by tag ${tag}"><ui-icon name="tag" size="s"></ui-icon>${tag}<ui-icon name="x" size="s"></ui-icon></button>` : nothing;
  }

  /** Whether only what runs is shown. */
  liveFilter() {
    return html`<label class="check"><input type="checkbox" .checked=${this.route.query.has("live")} @change=${(event) => setQuery({ live: event.target.checked ? "true" : null }, { replace: false })}>Only running</label>`;
  }

  /** What stands below a table that goes on. */
  more(words) {
    return this.list.value?.next ? html`<div class="more"><button class="button small" @click=${this.#more}>${words}</button></div>` : nothing;
  }
}
