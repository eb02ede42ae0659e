// Lets the terminal library style itself under the policy of the pages, which refuses style elements and style
// attributes. What it writes so comes in by the ways that the policy leaves open to scripts. The library has an
// option for a document of one's own, but heeds it in half of its places; so the page's own document makes the
// elements. Nothing else here makes style elements.

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

document.createElement = function createElement(name, options) {
  const element = Document.prototype.createElement.call(this, name === "style" ? "adopted-style" : name, options);
  if (name === "span") element.setAttribute = setAttribute;
  return element;
};
