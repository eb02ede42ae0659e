// <meter-bar>: a share of a whole, with a label. Properties: label, text, value and under (0–1).
// `under` is drawn paler behind `value`: what is promised, behind what is used.
import { html, nothing } from "/html.js";
import { Element, reactive } from "/components/element.js";

class MeterBar extends Element {
  view() {
    const value = share(this.value);
    return html`
      ${this.label ? html`<div class="label"><span class="soft">${this.label}</span><span>${this.text ?? ""}</span></div>` : nothing}
      <div class="track" role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(value * 100)}
        aria-label=${this.label || this.getAttribute("aria-label") || "Share in use"} aria-valuetext=${this.text || `${Math.round(value * 100)} %`}>
        ${this.under ? html`<div class="fill under" .style=${`width: ${share(this.under) * 100}%`}></div>` : nothing}
        <div class="fill" .style=${`width: ${value * 100}%`}></div>
      </div>`;
  }
}

const share = (value) => Math.max(0, Math.min(1, Number.isFinite(value) ? value : 0));

reactive(MeterBar, ["label", "text", "value", "under"]);
customElements.define("meter-bar", MeterBar);
