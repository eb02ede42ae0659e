// The dialogs that add to what a notebook has beneath /datasets: a version of a dataset, a place on S3.
import { html, nothing } from "/html.js";
import { api } from "/api.js";
import { askForm, field } from "/components/form-dialog.js";
import { nameOf } from "/components/mount-editor.js";

const LISTED = 500;

/** Asks for a dataset, its version and a name; returns what the notebook has by then. */
export async function askDataset(notebook) {
  const datasets = await api.datasets({ limit: LISTED }).then(({ items }) => items.filter(({ latest }) => latest), () => []);
  let chosen = null; // Its versions and tags, once somebody has chosen.
  let versions = [];
  let name = "";
  let named = false;
  return askForm({
    title: "Add a dataset",
    text: "It is there read-only, soon after in a session that runs, and in every later one.",
    action: "Add",
    body: ({ invalid, redraw }) => html`
      ${field("data-dataset", "Dataset", html`<input id="data-dataset" name="dataset" class="mono" list="data-datasets" placeholder="NAME or gradient/NAME" required spellcheck="false" autocomplete="off" aria-invalid=${invalid("ref")} @input=${(event) => choose(event.target.value, redraw)}>
        <datalist id="data-datasets">${datasets.map((dataset) => html`<option value=${reference(dataset)}>${dataset.description || nothing}</option>`)}</datalist>`, datasets.length ? "One of the team, or gradient/NAME of a public one." : "The team has no dataset with a committed version yet.")}
      ${field("data-version", "Version", html`<select id="data-version" name="version"><option value="latest">latest: the newest one when it is mounted</option>
        ${tagsOf(versions).map(([tag, version]) => html`<option value=${tag}>tag ${tag} (${version} now)</option>`)}
        ${versions.filter(({ state }) => state === "committed").map(({ version, message }) => html`<option value=${version}>${version}${message ? `: ${message}` : ""}</option>`)}</select>`)}
      ${field("data-name", "Name", html`<div class="path-field"><span class="mono quiet">/datasets/</span><input id="data-name" class="mono" .value=${name} required spellcheck="false" autocomplete="off" aria-invalid=${invalid("name")} @input=${(event) => ((name = event.target.value), (named = true))}></div>`)}`,
    submit: ({ dataset, version }) => api.putIntegration(notebook.id, name.trim(), { type: "dataset", ref: `${dataset.trim()}:${version}` }),
  });

  async function choose(text, redraw) {
    if (!named) name = nameOf(text);
    const dataset = datasets.find((one) => reference(one) === text);
    chosen = dataset?.id ?? null;
    versions = [];
    redraw();
    if (!dataset) return;
    const found = await api.versions(dataset.id, { limit: LISTED }).then(({ items }) => items, () => []);
    if (chosen !== dataset.id) return;
    versions = found;
    redraw();
  }
}

const reference = (dataset) => `${dataset.public ? "gradient/" : ""}${dataset.name}`;

const tagsOf = (versions) => versions.flatMap(({ tags, version }) => (tags ?? []).map((tag) => [tag, version]));

/** Asks for a place on S3 and what opens it; returns what the notebook has by then. */
export async function askS3(notebook) {
  const secrets = await api.secrets({ limit: LISTED, project: notebook.project.id }).then(({ items }) => items.map(({ name }) => name), () => []);
  let own = false; // A service other than AWS.
  return askForm({
    title: "Add an S3 source",
    text: "A bucket, or a path in one, as files that the notebook reads and writes.",
    action: "Add",
    body: ({ invalid, redraw }) => html`
      ${field("s3-url", "Where", html`<input id="s3-url" name="url" class="mono" placeholder="s3://BUCKET/PATH" required spellcheck="false" autocomplete="off" aria-invalid=${invalid("url")}>`)}
      <div class="field"><span class="label" id="s3-service">Service</span><div class="row" role="radiogroup" aria-labelledby="s3-service">
        <label class="check"><input type="radio" name="service" value="aws" ?checked=${!own} @change=${() => ((own = false), redraw())}><span>AWS</span></label>
        <label class="check"><input type="radio" name="service" value="own" ?checked=${own} @change=${() => ((own = true), redraw())}><span>Another one</span></label></div></div>
      ${own
        ? field("s3-endpoint", "Endpoint", html`<input id="s3-endpoint" name="endpoint" class="mono" placeholder="https://minio.lab.example" required spellcheck="false" autocomplete="off" aria-invalid=${invalid("endpoint")}>`)
        : field("s3-region", "Region", html`<input id="s3-region" name="region" class="mono" placeholder="eu-west-1" required spellcheck="false" autocomplete="off" aria-invalid=${invalid("region")}>`)}
      ${field("s3-key", "Access key id", html`<input id="s3-key" name="accessKeyId" class="mono" required spellcheck="false" autocomplete="off" aria-invalid=${invalid("accessKeyId")}>`)}
      ${field("s3-secret", "Secret access key", html`<div class="path-field"><span class="mono quiet">secret:</span><input id="s3-secret" name="secret" class="mono" list="s3-secrets" placeholder="NAME" required spellcheck="false" autocomplete="off" aria-invalid=${invalid("secretAccessKey")}></div><datalist id="s3-secrets">${secrets.map((name) => html`<option value=${name}></option>`)}</datalist>`, html`Never the key itself: <a class="link" href="/secrets">set it as a secret</a>, and name that here.`)}
      ${field("s3-name", "Name", html`<div class="path-field"><span class="mono quiet">/datasets/</span><input id="s3-name" name="name" class="mono" required spellcheck="false" autocomplete="off" aria-invalid=${invalid("name")}></div>`)}
      <label class="check"><input type="checkbox" name="readOnly"><span>Only to be read</span></label>`,
    submit: ({ url, region, endpoint, accessKeyId, secret, name, readOnly }) => api.putIntegration(notebook.id, name.trim(), {
      type: "s3",
      url: url.trim(),
      ...(own ? { endpoint: endpoint.trim() } : { region: region.trim() }),
      accessKeyId: accessKeyId.trim(),
      secretAccessKey: `secret:${secret.trim().replace(/^secret:/, "")}`,
      readOnly: Boolean(readOnly),
    }),
  });
}
