// The dialogs of a notebook: start it on another machine, fork it, share it.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { duration } from "/format.js";
import { askForm, field } from "/components/form-dialog.js";
import { badgeMarkdown, runPath } from "/components/repository-link.js";
import "/components/code-block.js";
import "/components/machine-picker.js";

const HOUR = 3600;
const LIMITS = [HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, 24 * HOUR, 72 * HOUR, 168 * HOUR];

/** Asks for machine and time, and starts; what is chosen stays for later starts. */
export async function askStart(notebook) {
  const types = await api.machineTypes().then(({ items }) => items, () => []);
  let machineType = notebook.machineType;
  const kept = notebook.spec.shutdownSeconds;
  const limits = [...new Set([...LIMITS, ...(kept ? [kept] : [])])].sort((a, b) => a - b);
  return askForm({
    title: `Start ${notebook.name}`,
    text: "What you choose stays for later starts.",
    action: "Start",
    wide: true,
    body: ({ invalid }) => html`
      <machine-picker .types=${types} .value=${machineType} @pick=${(event) => (machineType = event.detail)}></machine-picker>
      ${field("start-shutdown", "Stops by itself", html`<select id="start-shutdown" name="shutdown" aria-invalid=${invalid("shutdownSeconds")}>
        ${kept === null ? html`<option value="" selected>Never</option>` : nothing}
        ${limits.map((seconds) => html`<option value=${seconds} ?selected=${seconds === kept}>After ${duration(seconds)}</option>`)}
      </select>`, "It can be extended while it runs.")}`,
    submit: ({ shutdown }) => api.startNotebook(notebook.id, { machineType, shutdownSeconds: shutdown ? Number(shutdown) : null }),
  });
}

/** Asks for the fork's name, and makes it. */
export function askFork(notebook) {
  return askForm({
    title: `Fork ${notebook.name}`,
    text: "A notebook of your team with copies of its files as they are now, and with its settings. It is not started.",
    action: "Fork",
    body: ({ invalid }) => field("fork-name", "Name", html`<input id="fork-name" name="name" .value=${`Fork of ${notebook.name}`} required maxlength="128" autocomplete="off" aria-invalid=${invalid("name")}>`),
    submit: ({ name }) => api.forkNotebook(notebook.id, { name: name.trim() }),
  });
}

/** Asks who may see it. Shows the link, and for one that began as a repository the badge that makes others like it. */
export function askShare(notebook) {
  const path = runPath({ ...notebook.spec.workspace, image: notebook.image });
  return askForm({
    title: `Share ${notebook.name}`,
    action: "Save",
    wide: Boolean(path),
    body: () => html`
      <label class="check"><input type="checkbox" name="public" ?checked=${notebook.public}><span>Public on this box</span></label>
      <p class="small quiet">Everybody with a key of this box, of any team, may look at its files and fork it. Only your team opens, changes, starts and deletes it. Its environment and its secrets are never shown.</p>
      ${field("share-link", "Link", html`<code-block label="Link to this notebook" .text=${`${location.origin}/notebooks/${notebook.id}`}></code-block>`)}
      ${path ? field("share-badge", "Badge for the README of its repository", html`<code-block label="Badge as Markdown" .text=${badgeMarkdown(location.origin, path)}></code-block>`, "Whoever presses it gets a notebook of their own on this box, which begins with that repository.") : nothing}`,
    submit: (fields) => api.changeNotebook(notebook.id, { public: Boolean(fields.public) }),
  });
}
