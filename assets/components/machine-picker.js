// <machine-picker .types=${…} .value=${name}>: machine types as cards; emits "pick" with the name.
import { html, nothing } from "/html.js";
import { bytes, cores } from "/format.js";
import { Element, reactive } from "/components/element.js";

class MachinePicker extends Element {
  view() {
    return html`
      <div class="pick-cards" role="radiogroup" aria-label="Machine type">
        ${(this.types ?? []).map((type) => html`
          <label class="pick" title=${type.description ?? ""}>
            <input type="radio" name="machineType" value=${type.name} .checked=${type.name === this.value} @change=${() => this.#pick(type.name)}>
            <span class="spread"><strong>${type.name}</strong><span class="row-tight tiny quiet"><span class="dot ${type.availableNow ? "" : "busy"}"></span>${type.availableNow ? "free now" : "would queue"}</span></span>
            <span class="small soft">${gpuWords(type)}</span>
            <span class="tiny quiet">${cores(type.cpuMillis)} · ${bytes(type.memoryBytes)}</span>
            ${type.aliases?.length ? html`<span class="tiny quiet cut" title=${type.aliases.join(", ")}>also ${type.aliases.join(", ")}</span>` : nothing}
          </label>`)}
      </div>`;
  }

  #pick(name) {
    this.value = name;
    this.dispatchEvent(new CustomEvent("pick", { detail: name }));
  }
}

function gpuWords(type) {
  if (!type.gpus) return "No GPU";
  const share = type.share > 1 ? `1/${type.share} of ` : "";
  const slice = type.migProfile ? ` (MIG ${type.migProfile})` : "";
  return `${share}${type.gpus} × ${type.gpuModel ?? "GPU"}${slice}`;
}

reactive(MachinePicker, ["types", "value"]);
customElements.define("machine-picker", MachinePicker);
