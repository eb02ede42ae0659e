// <code-block .text=${…}>: text in a fixed pitch that can be copied.
import { html } from "/html.js";
import { Element, reactive } from "/components/element.js";
import "/components/copy-button.js";

class CodeBlock extends Element {
  view() {
    return html`<pre tabindex="0" role="region" aria-label=${this.getAttribute("label") ?? "Code"}><code>${this.text ?? ""}</code></pre><copy-button icon-only label="Copy" .text=${this.text ?? ""}></copy-button>`;
  }
}

reactive(CodeBlock, ["text"]);
customElements.define("code-block", CodeBlock);
