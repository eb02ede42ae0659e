// <ui-icon name="play">: one icon of the vendored set, in the colour of the text around it.
class UiIcon extends HTMLElement {
  static observedAttributes = ["name"];

  connectedCallback() {
    this.setAttribute("aria-hidden", "true"); // The words beside it say what it means.
  }

  attributeChangedCallback(_name, _before, name) {
    this.style.maskImage = `url("/vendor/lucide-static@1.62.0/icons/${name}.svg")`;
  }
}
customElements.define("ui-icon", UiIcon);
