// The files that somebody dropped or chose, with their paths inside what was dropped.

/** Files of a drop as [{ path, file }], folders walked to their ends. `onFound(count)` tells how far. */
export async function droppedFiles(dataTransfer, onFound = () => {}) {
  // The items are gone once this turn ends, so all of them are asked before anything is awaited.
  const items = [...dataTransfer.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const item of items) {
    if (item instanceof File) found.push({ path: item.name, file: item });
    else if (item) await walk(item, found, onFound);
  }
  return found;
}

/** Files of a file or folder picker. */
export function chosenFiles(list) {
  return [...list].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

async function walk(entry, found, onFound) {
  const waiting = [entry];
  while (waiting.length) {
    const next = waiting.pop();
    if (next.isFile) {
      const file = await new Promise((resolve, reject) => next.file(resolve, reject));
      found.push({ path: next.fullPath.replace(/^\//, ""), file });
      if (found.length % 200 === 0) onFound(found.length);
      continue;
    }
    const reader = next.createReader();
    // A reader gives about a hundred at a time, and nothing when it is done.
    for (let batch; (batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) waiting.push(...batch);
  }
}
