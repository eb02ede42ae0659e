// What a page says of processes of a run that were killed for memory while the run goes on: when, how often, what to do.
import { html, nothing } from "/html.js";
import { sentence } from "/components/notebook-words.js";
import "/components/time-ago.js";

export function memoryNote(kills) {
  if (!kills) return nothing;
  const often = kills.times === 1 ? "" : `${kills.times} times, last `;
  return html`
    <div class="note memory-note" data-tone="waiting" role="status"><ui-icon name="triangle-alert"></ui-icon><div class="grow">
      <strong>It ran out of memory ${often}<time-ago at=${kills.lastAt}></time-ago></strong>
      <div class="small soft">${sentence(kills.message)}.</div>
    </div></div>`;
}
