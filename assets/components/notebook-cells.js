// What an .ipynb file holds, as far as it is shown: cells with their outputs, each as one kind of thing that
// is safe to show. No page, no requests. HTML, SVG and JavaScript of outputs are never more than text.

const PICTURES = { "image/png": /^[A-Za-z0-9+/=\s]+$/, "image/jpeg": /^[A-Za-z0-9+/=\s]+$/ };
const MOST_CELLS = 2000;
const MOST_TEXT = 64 * 1024;

/** A notebook file as { language, cells, left }, or null where it is none. `left` counts cells that are not shown. */
export function readNotebook(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    return null;
  }
  const all = file?.cells ?? file?.worksheets?.flatMap(({ cells }) => cells ?? []);
  if (!Array.isArray(all)) return null;
  const language = file.metadata?.kernelspec?.display_name ?? file.metadata?.language_info?.name ?? "";
  const cells = all.slice(0, MOST_CELLS).filter((cell) => cell && typeof cell === "object").map(readCell);
  return { language: String(language), cells, left: Math.max(0, all.length - MOST_CELLS) };
}

function readCell(cell) {
  const source = cut(joined(cell.source ?? cell.input));
  const kind = cell.cell_type === "markdown" ? "markdown" : cell.cell_type === "code" ? "code" : "raw";
  if (cell.cell_type === "heading") return { kind: "markdown", source: `${"#".repeat(cell.level ?? 1)} ${source}`, attachments: {} };
  if (kind !== "code") return { kind, source, attachments: attachmentsOf(cell) };
  const outputs = Array.isArray(cell.outputs) ? cell.outputs : [];
  return { kind, source, number: Number.isInteger(cell.execution_count) ? cell.execution_count : null, outputs: outputs.filter((output) => output && typeof output === "object").map(readOutput) };
}

/** One output as { kind: "text" | "error" | "picture" | "markdown" | "hidden", … }. */
function readOutput(output) {
  if (output.output_type === "stream") return { kind: "text", stream: output.name === "stderr" ? "stderr" : "stdout", text: cut(joined(output.text)) };
  if (output.output_type === "error" || output.output_type === "pyerr") {
    return { kind: "error", text: cut((Array.isArray(output.traceback) ? output.traceback.join("\n") : "") || `${output.ename}: ${output.evalue}`) };
  }
  const data = output.data ?? {};
  for (const [type, wanted] of Object.entries(PICTURES)) {
    const content = joined(data[type]).replace(/\s/g, "");
    if (content && wanted.test(content)) return { kind: "picture", source: `data:${type};base64,${content}`, words: cut(joined(data["text/plain"])) || "Output" };
  }
  if (data["text/markdown"]) return { kind: "markdown", text: cut(joined(data["text/markdown"])) };
  const plain = joined(data["text/plain"]);
  // A table of pandas has both; what draws itself by script has a word such as <Figure> as its text.
  if (plain) return { kind: "text", stream: "result", text: cut(plain), more: Boolean(data["text/html"] || data["image/svg+xml"] || data["application/javascript"]) };
  const types = Object.keys(data);
  return { kind: "hidden", types, text: cut(joined(data["text/html"] ?? data["text/latex"] ?? data["image/svg+xml"] ?? "")) };
}

/** Pictures that were put into a Markdown cell, as data URLs by name. */
function attachmentsOf({ attachments }) {
  const kept = {};
  for (const [name, types] of Object.entries(attachments ?? {})) {
    for (const [type, wanted] of Object.entries(PICTURES)) {
      const content = joined(types?.[type]).replace(/\s/g, "");
      if (content && wanted.test(content)) kept[name] = `data:${type};base64,${content}`;
    }
  }
  return kept;
}

function joined(text) {
  if (Array.isArray(text)) return text.filter((line) => typeof line === "string").join("");
  return typeof text === "string" ? text : "";
}

function cut(text) {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)}\n… and ${text.length - MOST_TEXT} characters more` : text;
}
