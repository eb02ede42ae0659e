// <copy-button .text=${…} label="Copy" icon-only>: puts a text on the clipboard and says that it did.
import { html } from "/html.js";
import { Element, reactive } from "/components/element.js";
import "/components/ui-icon.js";

const SAID_MILLIS = 1600;

class CopyButton extends Element {
  view() {
    const label = this.getAttribute("label") ?? "Copy";
    const copied = this.copied;
    const iconOnly = this.hasAttribute("icon-only");
    return html`<button type="button" class="button small ${iconOnly ? "icon-only" : ""}" title=${label} @click=${this.#copy}>
      <ui-icon name=${copied ? "check" : "copy"} size="s"></ui-icon><span class=${iconOnly ? "visually-hidden" : ""} aria-live="polite">${copied ? "Copied" : label}</span>
    </button>`;
  }

  #copy = async () => {
    await copy(this.text);
    this.copied = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (this.copied = false), SAID_MILLIS);
  };
}

/**
 * Puts a text on the clipboard. That of a page that is neither https nor on this machine is closed;
 * then an old way is left.
 */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

reactive(CopyButton, ["text", "copied"]);
customElements.define("copy-button", CopyButton);
