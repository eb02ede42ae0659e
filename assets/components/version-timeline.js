// <version-timeline .home=${dataset} .versions=${[…]}>: versions from the newest down, and what can be
// done with each. Emits "changed" when a tag moved or a version went.
import { html, nothing, repeat } from "/html.js";
import { api } from "/api.js";
import { bytes, count, userName } from "/format.js";
import { deleteUnlessUsed } from "/components/delete-used.js";
import { Element, reactive } from "/components/element.js";
import { askForm, field } from "/components/form-dialog.js";
import { toast } from "/components/toast-list.js";
import "/components/state-chip.js";
import "/components/time-ago.js";
import "/components/ui-icon.js";

class VersionTimeline extends Element {
  view() {
    return html`<ol class="version-list">${repeat(this.versions ?? [], ({ version }) => version, (version) => this.#version(version))}</ol>`;
  }

  #version(version) {
    const draft = version.state === "uncommitted";
    return html`
      <li data-state=${version.state} ?data-damaged=${Boolean(version.damagedAt)}>
        <div class="spread top">
          <div class="row">
            <a class="row-link mono" href=${this.#address(version)}>${version.version}</a>
            <state-chip state=${version.state}></state-chip>
            ${version.version === this.home.latest ? html`<span class="tag accent" title="The newest committed version; what a reference without a version means">latest</span>` : nothing}
            ${version.tags.map((tag) => this.#tag(version, tag))}
          </div>
          <div class="row-tight actions">
            ${draft ? nothing : html`<button class="button small ghost" @click=${() => this.#addTag(version)} aria-label="Tag ${version.version}"><ui-icon name="tag" size="s"></ui-icon>Tag</button>`}
            ${draft ? html`<a class="button small" href=${this.#address(version)}><ui-icon name="upload" size="s"></ui-icon>Add files</a>` : nothing}
            ${draft ? nothing : html`<button class="button small ghost" @click=${() => this.#startFrom(version)} aria-label="New version from ${version.version}"><ui-icon name="git-branch" size="s"></ui-icon>New from this</button>`}
            <button class="button small ghost danger icon-only" @click=${() => this.#delete(version)} aria-label="Delete ${version.version}" title="Delete"><ui-icon name="trash-2" size="s"></ui-icon></button>
          </div>
        </div>
        ${version.message ? html`<p class="message">${version.message}</p>` : nothing}
        ${version.note ? html`<div class="note" data-tone="waiting"><ui-icon name="triangle-alert"></ui-icon><div class="small">${version.note}</div></div>` : nothing}
        ${version.damagedAt ? html`<div class="note" data-tone="bad" role="alert"><ui-icon name="triangle-alert"></ui-icon><div><strong>Damaged files</strong><div class="small soft">A check found contents that differ from their hash. New jobs are refused this version. <a class="link" href="/storage">Storage</a> names the files.</div></div></div>` : nothing}
        <div class="facts-line small">
          <span>${bytes(version.bytes)} in ${count(version.files ?? 0, "file")}</span>
          <span>${userName(version.user)}</span>
          <span>${draft ? html`begun <time-ago at=${version.createdAt}></time-ago>` : html`<time-ago at=${version.committedAt ?? version.createdAt}></time-ago>`}</span>
          ${version.parent ? html`<span>from <a class="link mono" href="/datasets/${this.home.id}/versions/${version.parent}">${version.parent}</a></span>` : nothing}
          ${version.madeBy ? html`<span>made by job <a class="link mono" href="/jobs/${version.madeBy}">${version.madeBy}</a></span>` : nothing}
          ${version.parent && !draft ? html`<a class="link" href="${this.#address(version)}/changes?against=${version.parent}">What changed</a>` : nothing}
        </div>
      </li>`;
  }

  #tag(version, tag) {
    return html`<span class="tag removable">${tag}<button @click=${() => this.#removeTag(tag)} aria-label="Remove the tag ${tag}" title="Remove this tag"><ui-icon name="x" size="s"></ui-icon></button></span>`;
  }

  #address(version) {
    return `/datasets/${this.home.id}/versions/${version.version}`;
  }

  async #addTag(version) {
    const elsewhere = this.versions.flatMap((other) => (other === version ? [] : other.tags));
    const done = await askForm({
      title: `Tag ${version.version}`,
      text: "A tag is a name that can be moved: jobs that ask for it get the version that has it when they are submitted.",
      action: "Set the tag",
      body: ({ invalid }) => html`
        ${field("tag-name", "Tag", html`<input id="tag-name" name="tag" class="mono" list="known-tags" placeholder="stable" required autofocus autocomplete="off" aria-invalid=${invalid("tag")}>`, elsewhere.length ? "A tag that another version has is moved to this one." : "")}
        <datalist id="known-tags">${elsewhere.map((tag) => html`<option value=${tag}></option>`)}</datalist>`,
      submit: async ({ tag }) => {
        await api.setTag(this.home.id, tag.trim(), version.version);
        return tag.trim();
      },
    });
    if (!done) return;
    toast(elsewhere.includes(done) ? `${done} was moved to ${version.version}.` : `${version.version} is tagged ${done}.`);
    this.#changed();
  }

  async #removeTag(tag) {
    try {
      await api.removeTag(this.home.id, tag);
      toast(`The tag ${tag} was removed.`);
    } catch (problem) {
      toast(problem.detail, "bad");
    }
    this.#changed();
  }

  #startFrom(version) {
    this.dispatchEvent(new CustomEvent("start-from", { detail: version.version }));
  }

  async #delete(version) {
    const gone = await deleteUnlessUsed({
      title: `Delete version ${version.version}?`,
      text: `${count(version.files ?? 0, "file")} of it are no longer listed. Their room is given back when the box next cleans up, as far as no other version has them.`,
      name: `Version ${version.version}`,
      remove: (force) => api.deleteVersion(this.home.id, version.version, force),
    });
    if (gone) this.#changed();
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("changed"));
  }
}

reactive(VersionTimeline, ["home", "versions"]);
customElements.define("version-timeline", VersionTimeline);
