// The first rows of a Parquet file, read by ranges: its footer, then the columns' pages that hold them.
import { decompress } from "/vendor/fzstd@0.1.1/esm/index.mjs";
import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from "/vendor/hyparquet@1.31.5/src/index.js";
import { objectsTable } from "/components/preview-kinds.js";

const ROWS = 50;
const MOST_COLUMNS = 40;
/** Of a row group with wide columns, as many columns are fetched as fit into this. */
const BUDGET_BYTES = 24 * 1024 * 1024;

/** `read(start, end)` gives a promise of bytes. Returns { columns, rows, more, total, left, words }. */
export async function parquetHead(byteLength, read) {
  const file = { byteLength, slice: async (start, end = byteLength) => toBuffer(await read(start < 0 ? byteLength + start : start, end)) };
  const metadata = await parquetMetadataAsync(file);
  const all = parquetSchema(metadata).children.map(({ element }) => element.name);
  const columns = affordable(metadata, all);
  const total = Number(metadata.num_rows);
  const items = columns.length && total ? await parquetReadObjects({ file, metadata, columns, rowStart: 0, rowEnd: Math.min(ROWS, total), compressors: { ZSTD: (page) => decompress(page) } }) : [];
  const table = items.length ? objectsTable(items, total > items.length) : { columns: all, rows: [], more: total > 0 };
  return { ...table, total, left: all.length - columns.length };
}

/** The leading columns whose first chunks fit the budget. */
function affordable(metadata, all) {
  const cost = new Map();
  for (const { meta_data: chunk } of metadata.row_groups[0]?.columns ?? []) {
    const name = chunk.path_in_schema[0];
    cost.set(name, (cost.get(name) ?? 0) + Number(chunk.total_compressed_size));
  }
  let left = BUDGET_BYTES;
  return all.slice(0, MOST_COLUMNS).filter((name) => (left -= cost.get(name) ?? 0) >= 0);
}

function toBuffer(view) {
  return view.byteOffset === 0 && view.byteLength === view.buffer.byteLength ? view.buffer : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
}
