// The empty, loading and failed states that every screen has.
import { html, nothing } from "/html.js";
import "/components/ui-icon.js";

const NEXT_STEPS = {
  unreachable: "The page tries again by itself when the stream is back.",
  forbidden: "Sign in with a key of a higher scope, or ask an admin of the box.",
  not_found: "It may have been deleted. Go back to the list to see what there is.",
};

export function loading(lines = 4) {
  return html`<div class="skeleton" role="status" aria-label="Loading">${Array.from({ length: lines }, () => html`<span></span>`)}</div>`;
}

/** What the daemon said, what to do next, and the id by which its log names the request. */
export function failed(problem, retry = null) {
  const next = NEXT_STEPS[problem.code];
  return html`
    <div class="problem" role="alert">
      <ui-icon name="circle-alert"></ui-icon>
      <div class="grow">
        <strong>${problem.detail ?? problem.message}</strong>
        ${next ? html`<span class="small soft">${next}</span>` : nothing}
        ${problem.requestId ? html`<span class="tiny quiet">Request <code>${problem.requestId}</code>${problem.code ? html` · <code>${problem.code}</code>` : nothing}</span>` : nothing}
      </div>
      ${retry ? html`<button class="button small" @click=${retry}><ui-icon name="refresh-cw" size="s"></ui-icon>Try again</button>` : nothing}
    </div>`;
}

export function empty({ icon = "box", title, text, actions = nothing }) {
  return html`
    <div class="empty">
      <ui-icon name=${icon}></ui-icon>
      <h3>${title}</h3>
      ${text ? html`<p>${text}</p>` : nothing}
      ${actions === nothing ? nothing : html`<div class="row">${actions}</div>`}
    </div>`;
}
