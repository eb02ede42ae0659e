// Path → page. A URL names what is shown: paths for pages, the query for filters, the hash for a place.
//
// A page is a custom element whose module's default export is its class. It gets `route`
// ({ path, params, query, hash }) before it is connected, and `routeChanged()` when only the
// parameters of the same page change, so that a filter or a tab does not start the page anew.

import { again } from "/again.js";
import NotLoadedPage from "/pages/not-loaded.js";

const routes = [];
let outlet = null;
let current = null; // { element, thing }
let navigation = 0;

/**
 * Binds a pattern such as "/jobs/:id" to a function that imports the page's module. A last part such
 * as "*rest" stands for all that follows, slashes too.
 */
export function route(pattern, load) {
  const names = [];
  const source = pattern.replace(/([:*])(\w+)/g, (_, mark, name) => (names.push(name), mark === "*" ? "(.+)" : "([^/]+)"));
  // More literal patterns win: "/jobs/new" before "/jobs/:id".
  routes.push({ expression: new RegExp(`^${source}/?$`), names, load });
  routes.sort((a, b) => a.names.length - b.names.length);
}

/** Begins to show pages inside the element and to follow links. */
export function start(element) {
  outlet = element;
  window.addEventListener("popstate", show);
  document.addEventListener("click", followLink);
  show();
}

/** Goes to a path of the UI. With `replace`, the present entry of the history is overwritten. */
export function go(path, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", path);
  if (outlet) show();
}

/** Changes parts of the query (null removes) and shows the result. */
export function setQuery(changes, { replace = true } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  go(location.pathname + (text ? `?${text}` : ""), { replace });
}

function followLink(event) {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement);
  if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.pathname.startsWith("/api/")) return;
  if (link.hash && link.pathname === location.pathname && link.search === location.search && !link.dataset.route) return;
  event.preventDefault();
  go(link.pathname + link.search + link.hash);
}

function match(path) {
  for (const candidate of routes) {
    const found = candidate.expression.exec(path);
    if (!found) continue;
    const params = Object.fromEntries(candidate.names.map((name, i) => [name, decodeURIComponent(found[i + 1])]));
    return { load: candidate.load, params };
  }
  return { load: () => import("/pages/not-found.js"), params: {} };
}

async function show() {
  const mine = ++navigation;
  const path = location.pathname;
  const { load, params } = match(path);
  const now = { path, params, query: new URLSearchParams(location.search), hash: location.hash };
  document.dispatchEvent(new CustomEvent("route-changed", { detail: now }));

  const module = await again(load, () => mine !== navigation).catch((cause) => {
    console.warn(cause);
    return { default: NotLoadedPage };
  });
  if (mine !== navigation) return; // A later navigation overtook this one.
  const { tab: _, ...named } = params; // A tab is a part of the same thing.
  const thing = JSON.stringify(named);
  if (current?.element instanceof module.default && current.thing === thing) {
    current.element.route = now;
    current.element.routeChanged?.();
    return;
  }
  const element = new module.default();
  element.route = now;
  current = { element, thing };
  outlet.replaceChildren(element);
  window.scrollTo(0, 0);
  if (mine > 1) outlet.focus({ preventScroll: true }); // A screen reader starts at the new page.
}
