// How a job, a notebook or a TensorBoard is named where it holds something or waits: what it is, and its page.
import { html } from "/html.js";
import "/components/ui-icon.js";

export const RUN_KINDS = {
  job: { word: "job", icon: "layers", page: ({ jobId }) => `/jobs/${jobId}` },
  notebook: { word: "notebook", icon: "notebook-text", page: ({ notebookId }) => `/notebooks/${notebookId}` },
  tensorboard: { word: "TensorBoard", icon: "chart-line", page: ({ tensorboardId }) => `/tensorboards/${tensorboardId}` },
};

/** The page of a run: a session's is that of its notebook or TensorBoard. Null where another team has it. */
export function runPage(run) {
  return run.own ? RUN_KINDS[run.kind].page(run) : null;
}

/** Its name, which leads to its page where there is one for whoever looks. */
export function runName(run, style = "link") {
  const page = runPage(run);
  const title = `${RUN_KINDS[run.kind].word} ${run.name}`;
  return page ? html`<a class=${style} href=${page} title=${title}>${run.name}</a>` : html`<span class=${style === "link" ? "" : style} title="${title} of another team">${run.name}</span>`;
}

/** A sign of what it is, for where its word stands beside. */
export function runIcon({ kind }) {
  return html`<ui-icon name=${RUN_KINDS[kind].icon} size="s"></ui-icon>`;
}
