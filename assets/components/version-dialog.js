// The dialog that makes a dataset version of chosen files of a notebook or of /storage.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { count } from "/format.js";
import { askForm, field } from "/components/form-dialog.js";

const MOST_DATASETS = 200;
const NEW = ""; // Chosen for a dataset that is yet to be made.

/**
 * Asks which dataset, and begins a version of the entries in the folder `path` of `root`. Returns the version with
 * its import, or null where the dialog was left.
 */
export async function askVersion(root, path, entries) {
  const datasets = await api.datasets({ limit: MOST_DATASETS }).then(({ items }) => items.filter(({ public: shared, name }) => !shared || !name.startsWith("gradient/")), () => []);
  const folder = entries.length === 1 && entries[0].kind === "directory" ? entries[0] : null;
  let chosen = datasets[0]?.id ?? NEW;
  let made = null; // A dataset that was made for a version that was refused then.
  return askForm({
    title: "New dataset version",
    text: `Of ${describe(entries)} in ${root.label}${path ? `/${path}` : ""}, as they are now. The files stay where they are; this page may be closed meanwhile.`,
    action: "Make the version",
    wide: true,
    body: (form) => {
      const dataset = datasets.find(({ id }) => id === chosen);
      const choose = (event) => {
        chosen = event.target.value;
        form.redraw();
      };
      return html`
        ${field("version-dataset", "Dataset", html`<select id="version-dataset" name="dataset" @change=${choose}>${datasets.map(({ id, name }) => html`<option value=${id} ?selected=${id === chosen}>${name}</option>`)}<option value=${NEW} ?selected=${chosen === NEW}>a new one…</option></select>`)}
        ${chosen === NEW ? field("version-name", "Name of the new dataset", html`<input id="version-name" name="name" required maxlength="128" placeholder="mnist-cleaned" autocomplete="off" spellcheck="false" aria-invalid=${form.invalid("name")}>`, "On the disk of this box. One in a bucket is made on the page of datasets, and can be chosen here then.") : nothing}
        ${dataset?.latest ? html`<label class="check"><input type="checkbox" name="latest"><span>Begin with the files of the latest version, <code>${dataset.latest}</code>: what has the same path is replaced, all else stays</span></label>` : nothing}
        ${folder ? html`<label class="check"><input type="checkbox" name="top" checked><span>Put what is in <code>${folder.name}</code> at the top of the version, without the folder</span></label>` : nothing}
        ${field("version-message", "Message", html`<input id="version-message" name="message" maxlength="1000" placeholder="What is new in it" autocomplete="off" aria-invalid=${form.invalid("message")}>`)}
        ${field("version-tag", "Tag", html`<input id="version-tag" name="tag" class="mono" placeholder="none" autocomplete="off" spellcheck="false" aria-invalid=${form.invalid("tags")}>`, "A name that leads to this version from then on.")}
        <label class="check"><input type="checkbox" name="commit" checked><span>Commit it when all is there: from then on it never changes. A draft can be added to</span></label>`;
    },
    submit: async (fields) => {
      // Before a dataset is made for it.
      await refuseNothing(root, entries);
      if (chosen === NEW && made?.name !== fields.name.trim()) made = await api.createDataset({ name: fields.name.trim() });
      const dataset = chosen === NEW ? made.id : chosen;
      return api.createVersion(dataset, versionOf(root, path, entries, folder, fields));
    },
  });
}

/** Refuses what would be a version without a file: nothing chosen, or only empty folders. */
async function refuseNothing(root, entries) {
  const isEmpty = (folder) => api.entries(root.id, folder, { limit: 1 }).then(({ items }) => !items.length);
  const folders = entries.filter(({ kind }) => kind === "directory");
  if (folders.length < entries.length) return;
  for (const folder of folders) if (!(await isEmpty(folder))) return;
  throw new Error(entries.length ? `There is no file in ${describe(entries)}: choose something else, or put files there first.` : "Nothing is chosen: choose files or folders first.");
}

function versionOf(root, path, entries, folder, { message, tag, latest, top, commit }) {
  const inside = Boolean(folder && top);
  const beneath = inside ? folder.path : path;
  const relative = ({ path: whole }) => (path ? whole.slice(path.length + 1) : whole);
  const from = inside && folder.pathBase64
    ? { root: root.id, beneathBase64: folder.pathBase64 }
    : { root: root.id, ...(beneath ? { beneath } : {}), ...(inside ? {} : chosenPaths(path, entries, relative)) };
  return {
    from,
    message: message.trim(),
    tags: tag.trim() ? [tag.trim()] : [],
    ...(latest ? { parent: "latest" } : {}),
    commit: Boolean(commit),
  };
}

/** Paths from the folder on; those that are not UTF-8 as base64 of their bytes. */
function chosenPaths(path, entries, relative) {
  const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const above = path ? new TextEncoder().encode(path).length + 1 : 0;
  const odd = entries.filter(({ pathBase64 }) => pathBase64).map(({ pathBase64 }) => btoa(String.fromCharCode(...bytesOf(pathBase64).slice(above))));
  return { paths: entries.filter(({ pathBase64 }) => !pathBase64).map(relative), ...(odd.length ? { pathsBase64: odd } : {}) };
}

function describe(entries) {
  const names = entries.slice(0, 3).map(({ name }) => name);
  return entries.length > names.length ? `${names.join(", ")} and ${count(entries.length - names.length, "more entry", "more entries")}` : names.join(", ");
}
