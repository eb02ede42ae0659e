// What a file's head can be shown as, from its name and its first bytes. No page, no requests.
import { dsvFormat } from "/vendor/d3-dsv@3.0.2/dist/d3-dsv.mjs";

const IMAGES = /\.(png|jpe?g|gif|webp|avif|bmp|svg|ico)$/i;
const TABLE_ROWS = 200;

/** "image", "parquet", "csv", "jsonl", "notebook", "markdown", or "text", which the bytes may still deny. */
export function kindOf(path) {
  if (IMAGES.test(path)) return "image";
  if (/\.(parquet|pq)$/i.test(path)) return "parquet";
  if (/\.(csv|tsv)$/i.test(path)) return "csv";
  if (/\.(jsonl|ndjson)$/i.test(path)) return "jsonl";
  if (/\.ipynb$/i.test(path)) return "notebook";
  if (/\.(md|markdown)$/i.test(path)) return "markdown";
  return "text";
}

/** Bytes as text, or null where they are none. A character cut off at the end is left out. */
export function textOf(content, whole) {
  if (content.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content, { stream: !whole });
  } catch {
    return null;
  }
}

/**
 * The head of a CSV file as { columns, rows, more }. The separator is the one that the first line
 * has most of; a last line that was cut off is left out.
 */
export function csvTable(text, whole) {
  const firstLine = text.slice(0, text.search(/\r?\n|$/));
  const separator = [",", "\t", ";", "|"].map((candidate) => [firstLine.split(candidate).length, candidate]).sort((a, b) => b[0] - a[0])[0][1];
  const rows = dsvFormat(separator).parseRows(text.replace(/^\uFEFF/, ""));
  if (!whole && rows.length > 1) rows.pop();
  const [columns = [], ...rest] = rows;
  return { columns, rows: rest.slice(0, TABLE_ROWS), more: !whole || rest.length > TABLE_ROWS };
}

/** The head of a JSONL file as { columns, rows, more }, or null where its lines are no objects. */
export function jsonlTable(text, whole) {
  const lines = text.split("\n");
  if (!whole) lines.pop();
  const items = [];
  for (const line of lines.filter((candidate) => candidate.trim()).slice(0, TABLE_ROWS)) {
    try {
      items.push(JSON.parse(line));
    } catch {
      return null;
    }
  }
  if (!items.length || items.some((item) => item === null || typeof item !== "object" || Array.isArray(item))) return null;
  return objectsTable(items, !whole || lines.length > TABLE_ROWS);
}

/** Objects as a table whose columns are all of their fields, in the order in which they come. */
export function objectsTable(items, more) {
  const columns = [...new Set(items.flatMap(Object.keys))];
  return { columns, rows: items.map((item) => columns.map((column) => cellText(item[column]))), more };
}

/** One value as a cell shows it. */
export function cellText(value) {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (typeof value === "object") return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner));
  return String(value);
}
