// The document as the terminal library sees it. It writes style elements and style attributes, which the pages'
// policy refuses; through here the same rules come in by the ways that the policy leaves open to scripts.

/** Stands where a style element would: its rules hold while it is in the page. */
class AdoptedStyle extends HTMLElement {
  #sheet = new CSSStyleSheet();

  set textContent(rules) {
    this.#sheet.replaceSync(rules);
  }

  connectedCallback() {
    document.adoptedStyleSheets.push(this.#sheet);
  }

  disconnectedCallback() {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => sheet !== this.#sheet);
  }
}
customElements.define("adopted-style", AdoptedStyle);

/** Writes the attribute `style` as properties. */
function setAttribute(name, value) {
  if (name === "style") this.style.cssText = value;
  else Element.prototype.setAttribute.call(this, name, value);
}

function createElement(name, options) {
  if (name === "style") return document.createElement("adopted-style");
  const element = document.createElement(name, options);
  if (name === "span") element.setAttribute = setAttribute;
  return element;
}

/** The document itself in all else; its functions want to be called on it and on nothing before it. */
export const strictDocument = new Proxy(document, {
  get(target, name) {
    if (name === "createElement") return createElement;
    const value = Reflect.get(target, name, target);
    return typeof value === "function" && !/^[A-Z]/.test(String(name)) ? value.bind(target) : value;
  },
  set: (target, name, value) => Reflect.set(target, name, value, target),
});
