// The one question that files need: a name or a folder.
import { html, nothing } from "/html.js";
import { askForm, field } from "/components/form-dialog.js";

/** Asks for a text and sends it; returns what `send` returned, or null where the dialog was left. */
export function askName({ title, label, action, value, hint, placeholder, optional = false, send }) {
  return askForm({
    title,
    action,
    body: ({ problem }) => field("entry-name", label, html`<input id="entry-name" name="name" class="mono" .value=${value} placeholder=${placeholder ?? nothing} ?required=${!optional} autocomplete="off" spellcheck="false" aria-invalid=${problem ? "true" : nothing}>`, hint),
    submit: ({ name }) => send(name.trim()),
  });
}
