// The dialog that asks where an import into a draft comes from, and begins it.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { askForm, field } from "/components/form-dialog.js";

const KINDS = [["url", "Web address"], ["s3", "S3 bucket"], ["directory", "Folder of this box"]];

/** Asks and begins; returns the import, or null where the dialog was left. */
export async function askImport(dataset, version, { admin }) {
  const providers = await api.storageProviders().then(({ items }) => items.filter(({ type }) => type === "s3"), () => []);
  let kind = "url";
  let provider = providers[0]?.id ?? "";
  return askForm({
    title: "Import",
    text: "The box fetches the files by itself; this page may be closed meanwhile.",
    action: "Begin",
    wide: true,
    body: (form) => {
      const choose = (value) => {
        kind = value;
        form.redraw();
      };
      return html`
        <div><div class="segments" role="radiogroup" aria-label="Source">${KINDS.filter(([value]) => admin || value !== "directory").map(([value, name]) => html`<label><input type="radio" name="kind" value=${value} .checked=${kind === value} @change=${() => choose(value)}>${name}</label>`)}</div></div>
        ${kind === "url" ? field("import-url", "Address", html`<input id="import-url" name="url" type="url" class="mono" placeholder="https://example.org/data.tar.gz" required aria-invalid=${form.invalid("url")}>`, "One file, by http or https.") : nothing}
        ${kind === "url" ? html`<label class="check"><input type="checkbox" name="unpack"><span>Unpack it: it is a tar, perhaps compressed</span></label>` : nothing}
        ${kind === "s3" ? s3Fields(form, providers, provider, (value) => { provider = value; form.redraw(); }) : nothing}
        ${kind === "directory" ? field("import-directory", "Folder", html`<input id="import-directory" name="directory" class="mono" placeholder="/data/incoming" required spellcheck="false" aria-invalid=${form.invalid("directory")}>`, "A path on the box, under one that its settings allow. The files are cloned or copied, never shared.") : nothing}
        ${field("import-prefix", "Into the folder", html`<input id="import-prefix" name="prefix" class="mono" placeholder="the top" spellcheck="false" aria-invalid=${form.invalid("prefix")}>`)}
        <label class="check"><input type="checkbox" name="commit"><span>Commit the version when the import has succeeded</span></label>`;
    },
    submit: (fields) => api.startImport(dataset, version, { ...sourceOf(kind, fields), ...(fields.prefix.trim() ? { prefix: fields.prefix.trim() } : {}), ...(fields.commit ? { commit: true } : {}) }),
  });
}

function s3Fields({ invalid }, providers, provider, choose) {
  const input = (name, placeholder, more = {}) => html`<input id="s3-${name}" name=${name} class="mono" type=${more.type ?? "text"} placeholder=${placeholder} ?required=${more.required} spellcheck="false" autocomplete="off" aria-invalid=${invalid(`s3.${name}`)}>`;
  return html`
    ${field("s3-provider", "Bucket", html`<select id="s3-provider" name="provider" @change=${(event) => choose(event.target.value)}>${providers.map(({ id, name, bucket }) => html`<option value=${id} ?selected=${id === provider}>${name} (${bucket})</option>`)}<option value="" ?selected=${!provider}>another one, for this import alone</option></select>`)}
    ${provider ? nothing : html`<div class="two">
      ${field("s3-bucket", "Bucket name", input("bucket", "research-data", { required: true }))} ${field("s3-region", "Region", input("region", "eu-central-1"))}
      ${field("s3-endpoint", "Endpoint", input("endpoint", "https://s3.example.org"), "Left empty for Amazon's own.")} ${field("s3-accessKeyId", "Access key id", input("accessKeyId", "AKIA…", { required: true }))}
      ${field("s3-secretAccessKey", "Secret access key", input("secretAccessKey", "", { type: "password", required: true }))}</div>`}
    ${field("s3-sourcePrefix", "Keys that begin with", input("sourcePrefix", "datasets/cifar10/"), "Left empty, the whole bucket is taken.")}`;
}

function sourceOf(kind, fields) {
  if (kind === "url") return { url: fields.url.trim(), ...(fields.unpack ? { unpack: true } : {}) };
  if (kind === "directory") return { directory: fields.directory.trim() };
  if (fields.provider) return { s3: { provider: fields.provider, prefix: fields.sourcePrefix.trim() } };
  const { bucket, region, endpoint, accessKeyId, secretAccessKey } = fields;
  const given = Object.entries({ bucket, region, endpoint, accessKeyId, secretAccessKey }).filter(([, value]) => value.trim());
  return { s3: { ...Object.fromEntries(given.map(([name, value]) => [name, value.trim()])), prefix: fields.sourcePrefix.trim() } };
}
