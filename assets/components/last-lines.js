// The last lines that something printed before it ended badly, as the API tells them.
import { html, nothing } from "/html.js";
import { count } from "/format.js";
import "/components/code-block.js";

export function lastLines(lines) {
  if (!lines?.length) return nothing;
  const what = lines.length === 1 ? "The last line" : `The last ${count(lines.length, "line")}`;
  return html`<div class="last-lines stack-s"><span class="small soft">${what} that it printed:</span><code-block label="Last lines" .text=${lines.join("\n")}></code-block></div>`;
}
