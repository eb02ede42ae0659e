// <lineage-graph .graph=${{ nodes, edges }} .datasetId=${id}>: which job made a version of which, whose files it
// holds, and who read it.
import { html, nothing, svg } from "/html.js";
import { go } from "/router.js";
import { Element, reactive } from "/components/element.js";
import { BOX, layOut } from "/components/lineage-layout.js";

const ROLE = { parent: "is the parent of", input: "was read by", output: "made", public: "was mounted in", files: "gave files to" };
const KIND = { tensorboard: "TensorBoard" }; // Where its word is not its name in the API.
const ADDRESS = { job: (id) => `/jobs/${id}`, notebook: (id) => `/notebooks/${id}`, tensorboard: (id) => `/tensorboards/${id}`, storage: () => "/storage/files" };
const LABEL_LENGTH = 20;
const STATE_LENGTH = 26; // In smaller type.

class LineageGraph extends Element {
  view() {
    const { nodes, edges, width, height } = layOut(this.graph.nodes, this.graph.edges);
    const labels = new Map(nodes.map((node) => [node.id, nameOf(node)]));
    return html`
      <div class="lineage" tabindex="0" role="region" aria-label="Lineage graph">
        <svg width=${width} height=${height} viewBox="0 0 ${width} ${height}" role="group" aria-label="Versions, and who made or read them">
          <defs><marker id="lineage-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" class="arrow"></path></marker></defs>
          ${edges.map((edge) => svg`<path class="edge" data-role=${edge.role} d=${edge.path} marker-end="url(#lineage-arrow)"><title>${labels.get(edge.from)} ${ROLE[edge.role] ?? "leads to"} ${labels.get(edge.to)}</title></path>`)}
          ${nodes.map((node) => this.#node(node))}
        </svg>
      </div>
      <p class="tiny quiet legend"><span class="key version"></span>version <span class="key job"></span>job, notebook or TensorBoard <span class="key dashed"></span>parent <span class="key line"></span>read or made</p>`;
  }

  #node(node) {
    const title = `${KIND[node.kind] ?? node.kind} ${nameOf(node)}, ${stateOf(node)}`;
    const box = svg`
      <title>${title}</title>
      <rect x=${node.x} y=${node.y} width=${BOX.width} height=${BOX.height} rx=${node.kind === "version" ? 8 : BOX.height / 2}></rect>
      <text x=${node.x + 14} y=${node.y + 19} class="name">${cut(nameOf(node), LABEL_LENGTH)}</text>
      <text x=${node.x + 14} y=${node.y + 34} class="state">${cut(stateOf(node), STATE_LENGTH)}</text>`;
    if (node.gone) return svg`<g class="node" role="img" data-kind=${node.kind} aria-label=${title}>${box}</g>`;
    const address = ADDRESS[node.kind]?.(node.id) ?? this.#versionAddress(node.id);
    return svg`<a href=${address} class="node" data-kind=${node.kind} data-state=${node.state ?? nothing} aria-label=${title} @click=${follow}>${box}</a>`;
  }

  /** A version's id may name its dataset as well, "ds…:VERSION". */
  #versionAddress(id) {
    const at = id.lastIndexOf(":");
    return at < 0 ? `/datasets/${this.datasetId}/versions/${id}` : `/datasets/${id.slice(0, at)}/versions/${id.slice(at + 1)}`;
  }
}

/** A version is named by its id, since it may have no tag or many; a job by its name. */
function nameOf({ kind, id, label }) {
  return kind === "version" ? id.slice(id.lastIndexOf(":") + 1) : label || id;
}

/** Whether a notebook or a TensorBoard runs just now says nothing about what it read. */
function stateOf({ kind, label, state, gone }) {
  if (kind === "notebook" || kind === "tensorboard") return `${KIND[kind] ?? kind}${gone ? ", deleted" : ""}`;
  if (kind === "storage") return "files of the team";
  return kind === "version" && label ? `${state} · ${label}` : (state ?? "deleted");
}

function cut(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** The router follows links of HTML only. */
function follow(event) {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(event.currentTarget.href.baseVal);
}

reactive(LineageGraph, ["graph", "datasetId"]);
customElements.define("lineage-graph", LineageGraph);
