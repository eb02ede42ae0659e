// A question before something that cannot be undone. `keep` is the answer that changes nothing.
import { html, render } from "/html.js";

/** Asks, and returns whether the answer was yes. Escape and a click outside mean no. */
export function confirm({ title, text, action = "Delete", keep = "Keep", tone = "danger primary" }) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "confirm-title");
  const closeOutside = (event) => event.target === dialog && dialog.close("no");
  render(
    html`<form method="dialog">
      <h2 id="confirm-title">${title}</h2>
      <p class="soft">${text}</p>
      <div class="actions">
        <button class="button" value="no" autofocus>${keep}</button>
        <button class="button ${tone}" value="yes">${action}</button>
      </div>
    </form>`,
    dialog,
  );
  dialog.addEventListener("mousedown", closeOutside);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
