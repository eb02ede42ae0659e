// Markdown as templates: headings, paragraphs, lists, quotes, tables, code, emphasis and links. Nothing of
// a text can become markup, as no HTML is ever made from it: tags in it are shown as they are written.
import { html, nothing } from "/html.js";

const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+$/;
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*(.*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
const RULE = /^ {0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 8; // Quotes and lists in each other.
const LONGEST = 10_000; // A paragraph beyond it is shown as it is written: nobody wrote it by hand.

/** A text as a template. `attachment(name)` gives the data URL of a picture that goes with it, or null. */
export function markdown(text, { attachment = () => null } = {}) {
  return blocks(text.replace(/\r\n?/g, "\n").split("\n"), attachment, 0);
}

function blocks(lines, attachment, depth) {
  const shown = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) shown.push(html`<p>${inline(paragraph.join("\n"), attachment)}</p>`);
    paragraph = [];
  };
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (fence) {
      flush();
      const end = lines.findIndex((other, i) => i > at && other.trim().startsWith(fence[1]) && !other.trim().slice(fence[1].length).replaceAll(fence[1][0], ""));
      const body = lines.slice(at + 1, end < 0 ? lines.length : end);
      shown.push(html`<pre tabindex="0"><code>${body.join("\n")}</code></pre>`);
      at = end < 0 ? lines.length : end;
    } else if (heading) {
      flush();
      shown.push(headline(heading[1].length, inline(heading[2], attachment)));
    } else if (RULE.test(line)) {
      flush();
      shown.push(html`<hr>`);
    } else if (QUOTE.test(line) && depth < DEEPEST) {
      flush();
      const [inner, next] = taken(lines, at, (other) => QUOTE.exec(other)?.[1] ?? null);
      shown.push(html`<blockquote>${blocks(inner, attachment, depth + 1)}</blockquote>`);
      at = next - 1;
    } else if (ITEM.test(line) && depth < DEEPEST) {
      flush();
      const next = endOfList(lines, at);
      shown.push(listOf(lines.slice(at, next), attachment, depth));
      at = next - 1;
    } else if (line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) {
      flush();
      const [rows, next] = taken(lines, at + 2, (other) => (other.includes("|") ? cells(other) : null));
      shown.push(table(cells(line), rows, attachment));
      at = next - 1;
    } else if (!line.trim()) {
      flush();
    } else {
      paragraph.push(line);
    }
  }
  flush();
  return shown;
}

/** What a reader makes of the lines from `at` on, until it makes nothing of one; and where that is. */
function taken(lines, at, read) {
  const found = [];
  let next = at;
  for (; next < lines.length; next += 1) {
    const value = read(lines[next]);
    if (value === null) break;
    found.push(value);
  }
  return [found, next];
}

/** A list goes on over its items, what is indented beneath them, and single empty lines between. */
function endOfList(lines, at) {
  let next = at + 1;
  while (next < lines.length) {
    const goesOn = ITEM.test(lines[next]) || /^\s{2,}\S/.test(lines[next]);
    const gap = !lines[next].trim() && (ITEM.test(lines[next + 1] ?? "") || /^\s{2,}\S/.test(lines[next + 1] ?? ""));
    if (!goesOn && !gap) break;
    next += 1;
  }
  return next;
}

function listOf(lines, attachment, depth) {
  const [, indent, number] = ITEM.exec(lines[0]);
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent.length) items.push([item[3]]);
    else items.at(-1).push(line.slice(Math.min(indent.length + 2, line.length - line.trimStart().length)));
  }
  const drawn = items.map((item) => html`<li>${item.length === 1 ? inline(item[0], attachment) : [inline(item[0], attachment), blocks(item.slice(1), attachment, depth + 1)]}</li>`);
  return number === undefined ? html`<ul>${drawn}</ul>` : html`<ol start=${number}>${drawn}</ol>`;
}

function headline(level, content) {
  if (level === 1) return html`<h3 class="md-1">${content}</h3>`;
  if (level === 2) return html`<h4 class="md-2">${content}</h4>`;
  return html`<h5>${content}</h5>`;
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function table(head, rows, attachment) {
  return html`<div class="table-wrap"><table>
    <thead><tr>${head.map((cell) => html`<th>${inline(cell, attachment)}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${head.map((_, i) => html`<td>${inline(row[i] ?? "", attachment)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** Code, pictures, links, bold, italic, in this order; each takes the text between its marks. */
const MARKS = [
  [/(`+)([^`]|[^`][^]*?[^`])\1(?!`)/, ([, , code]) => html`<code>${code.trim()}</code>`],
  [/!\[([^\]\n]*)\]\(\s*<?([^)\s>]*)>?[^)\n]*\)/, ([, words, address], attachment) => picture(words, address, attachment)],
  [/\[([^\]\n]+)\]\(\s*<?([^)\s>]*)>?[^)\n]*\)/, ([, words, address], attachment) => link(inline(words, attachment), address)],
  [/<?(https?:\/\/[^\s<>)\]]+[^\s<>)\].,;:!?'"])>?/, ([, address]) => link(address, address)],
  [/(\*\*|__)(?=\S)([^]*?\S)\1/, ([, , words], attachment) => html`<strong>${inline(words, attachment)}</strong>`],
  [/(?<![\w*])([*_])(?=[^\s*_])([^*_]*?[^\s*_])\1(?![\w*])/, ([, , words], attachment) => html`<em>${inline(words, attachment)}</em>`],
];

function inline(text, attachment) {
  if (text.length > LONGEST) return text;
  const shown = [];
  // Where each kind of mark is next. One that is nowhere is not looked for again.
  const next = MARKS.map(([pattern, draw]) => ({ pattern: new RegExp(pattern, "g"), draw, found: undefined }));
  for (let at = 0; at < text.length; ) {
    for (const mark of next) {
      if (mark.found === null || mark.found?.index >= at) continue;
      mark.pattern.lastIndex = at;
      mark.found = mark.pattern.exec(text);
    }
    const first = next.filter(({ found }) => found).sort((a, b) => a.found.index - b.found.index)[0];
    if (!first) {
      shown.push(text.slice(at));
      break;
    }
    const { found, draw } = first;
    shown.push(text.slice(at, found.index), draw(found, attachment));
    at = found.index + found[0].length;
  }
  return shown.length ? shown : nothing;
}

/** Leads out of the page in a tab of its own; what is no web address is shown as words alone. */
function link(words, address) {
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return html`<span>${words}</span>`;
  return html`<a class="link" href=${address} target="_blank" rel="noopener noreferrer">${words}</a>`;
}

/** Pictures that lie in the text; one of elsewhere is a link, so that opening a file tells nobody. */
function picture(words, address, attachment) {
  const source = address.startsWith("attachment:") ? attachment(address.slice("attachment:".length)) : address;
  if (source && PICTURE.test(source)) return html`<img src=${source} alt=${words}>`;
  return link(words || address, address);
}
