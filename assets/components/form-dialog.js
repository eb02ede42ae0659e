// A form in a dialog: asks for something, sends it, and stays open with the problem if it was refused.
import { html, nothing, render } from "/html.js";
import { failed } from "/components/states.js";

/**
 * Shows a form and returns what `submit(fields, form)` returned, or null where it was left. `body({
 * problem, invalid, redraw })` draws the fields; `invalid("name")` is the value of aria-invalid.
 * Escape and "Cancel" leave it; a click outside does not, since it would lose what was typed.
 */
export function askForm({ title, text, action, wide = false, body, submit }) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "form-title");
  dialog.classList.toggle("wide", wide);
  let problem = null;
  let busy = false;
  let result = null;

  const invalid = (name) => (problem?.field === name ? "true" : nothing);
  const send = async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    problem = null;
    draw();
    try {
      result = await submit(Object.fromEntries(new FormData(event.target)), event.target);
      dialog.close();
    } catch (refusal) {
      problem = refusal;
      busy = false;
      draw();
      dialog.querySelector('[aria-invalid="true"]')?.focus();
    }
  };
  // What was refused is no longer what is there.
  const corrected = () => {
    if (!problem || busy) return;
    problem = null;
    draw();
  };
  const draw = () =>
    render(
      html`<form @submit=${send} @input=${corrected}>
        <h2 id="form-title">${title}</h2>
        ${text ? html`<p class="soft">${text}</p>` : nothing}
        <div class="stack fields">${body({ problem, invalid, redraw: draw })}${problem ? failed(problem) : nothing}</div>
        <div class="actions">
          <button type="button" class="button" @click=${() => dialog.close()}>Cancel</button>
          <button class="button primary" ?disabled=${busy}>${busy ? "One moment…" : action}</button>
        </div>
      </form>`,
      dialog,
    );

  draw();
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
  });
}

/** A labelled control of such a form, with a hint under it. */
export function field(id, label, control, hint) {
  return html`<div class="field"><label for=${id}>${label}</label>${control}${hint ? html`<span class="hint">${hint}</span>` : nothing}</div>`;
}
