// The files that the team's jobs and notebooks share: /storage, without anything that runs.
import { html } from "/html.js";
import { Page } from "/components/page.js";
import { teamFiles } from "/components/file-root.js";
import "/components/file-browser.js";
import "/components/ui-icon.js";

export default class TeamFilesPage extends Page {
  start() {
    this.heading = "Files of the team";
  }

  view() {
    const { query } = this.route;
    return html`
      <nav class="crumbs" aria-label="Where this is"><a href="/storage">Storage</a></nav>
      <header class="page-head"><div><h1>Files of the team</h1><p>What every job and notebook of the team sees in <code>/storage</code>.</p></div></header>
      <file-browser .root=${teamFiles()} .path=${query.get("path") ?? ""} .file=${query.get("file")}></file-browser>`;
  }
}
customElements.define("team-files-page", TeamFilesPage);
