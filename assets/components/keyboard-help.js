// The shortcuts, and the dialog that lists them.
import { html, render } from "/html.js";
import { go } from "/router.js";

const PLACES = { o: ["/", "Overview"], j: ["/jobs", "Jobs"], n: ["/jobs/new", "New job"], e: ["/experiments", "Experiments"], b: ["/tensorboards", "TensorBoards"], p: ["/projects", "Projects"], d: ["/datasets", "Datasets"], t: ["/storage", "Storage"], s: ["/secrets", "Secrets"], k: ["/keys", "Keys"] };
const SECOND_KEY_MILLIS = 1200;

let leader = 0; // When "g" was pressed.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
  const place = PLACES[event.key];
  if (place && event.timeStamp - leader < SECOND_KEY_MILLIS) {
    leader = 0;
    event.preventDefault();
    go(place[0]);
    return;
  }
  leader = event.key === "g" ? event.timeStamp : 0;
  if (event.key === "/") focusSearch(event);
  if (event.key === "?") showHelp();
});

function focusSearch(event) {
  const search = document.querySelector("main [data-search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
}

/** Opens the list of shortcuts. */
export function showHelp() {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "help-title");
  render(
    html`<form method="dialog">
      <h2 id="help-title">Keyboard</h2>
      <table>
        <tbody>
          <tr><td><kbd>/</kbd></td><td>Search this page</td></tr>
          ${Object.entries(PLACES).map(([key, [, name]]) => html`<tr><td class="nowrap"><kbd>g</kbd> <kbd>${key}</kbd></td><td>${name}</td></tr>`)}
          <tr><td><kbd>?</kbd></td><td>This list</td></tr>
          <tr><td><kbd>Esc</kbd></td><td>Close, or leave a field</td></tr>
        </tbody>
      </table>
      <div class="actions"><button class="button" autofocus>Close</button></div>
    </form>`,
    dialog,
  );
  dialog.addEventListener("mousedown", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
