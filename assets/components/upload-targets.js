// Where files may be sent: a draft of a dataset, or the files of a notebook or of the team. A target knows
// how one file gets there, tried again while that may help, and what earlier visits left unfinished.
//
// { key, send({ path, file }, { signal, onProgress, replace }), unfinished(), discard(id), sizes?(tops, signal) }
import { api } from "/api.js";

const LARGE_BYTES = 64 * 1024 * 1024; // Above it a draft takes a file in parts.
const PIECE_BYTES = 16 * 1024 * 1024; // Above it, and in these pieces, a file goes to a folder.
const LIST_PAGE = 500; // The most that the API gives.
const TRIES = 4;
const FIRST_PAUSE_MILLIS = 500;
const PASSING = [0, 408, 429, 500, 502, 503, 504];

/** A version that still takes files. */
export function draftTarget(dataset, version) {
  return {
    key: `${dataset}/${version}`,
    async send({ path, file }, { signal, onProgress }) {
      if (file.size > LARGE_BYTES) return sendInParts(dataset, version, { path, file }, signal, onProgress);
      return patiently(signal, () => api.putFile(dataset, version, path, file, { signal, onProgress }));
    },
    async unfinished() {
      const { items } = await api.multipartUploads(dataset, version);
      return items.map(({ id, path, parts }) => ({ id, path, sentBytes: parts.reduce((sum, part) => sum + part.bytes, 0) }));
    },
    discard: (id) => api.abortMultipart(dataset, version, id),
    /** Sizes by path of the files that are there beneath these folders. */
    async sizes(folders, signal) {
      const known = new Map();
      for (const prefix of folders) {
        let cursor = null;
        do {
          const page = await api.files(dataset, version, { prefix, recursive: true, limit: LIST_PAGE, cursor }, { signal });
          for (const item of page.items) if (item.kind === "file") known.set(item.path, item.bytes);
          cursor = page.next;
        } while (cursor);
      }
      return known;
    },
  };
}

/** The files of a notebook, by its id, or the team's, as "storage". */
export function rootTarget(root) {
  return {
    key: `files/${root}`,
    async send({ path, file }, { signal, onProgress, replace }) {
      if (file.size > PIECE_BYTES) return sendInPieces(root, { path, file }, { signal, onProgress, replace });
      return patiently(signal, () => api.putEntry(root, path, file, { signal, onProgress, keep: !replace }));
    },
    async unfinished() {
      const { items } = await api.entryUploads(root);
      return items.map(({ id, path, offset }) => ({ id, path, sentBytes: offset }));
    },
    discard: (id) => api.dropEntryUpload(root, id),
  };
}

/** Tries again what may pass by itself: a restart, a full queue, a broken connection. */
async function patiently(signal, send) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (problem) {
      if (signal.aborted || attempt === TRIES || !PASSING.includes(problem.status)) throw problem;
      await pauseFor(FIRST_PAUSE_MILLIS * 2 ** attempt, signal);
    }
  }
}

function pauseFor(millis, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, millis);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("Stopped.", "AbortError"));
    }, { once: true });
  });
}

/** Sends a large file piece by piece, from where an earlier try or visit came to. */
async function sendInPieces(root, { path, file }, { signal, onProgress, replace }) {
  const looks = looksOf(file);
  const { items } = await api.entryUploads(root);
  const earlier = items.find((upload) => upload.path === path && upload.bytes === file.size && localStorage.getItem(memoryOf(upload.id)) === looks);
  let upload = earlier ?? (await api.beginEntryUpload(root, { path, bytes: file.size, overwrite: Boolean(replace) }));
  localStorage.setItem(memoryOf(upload.id), looks);
  while (upload.offset < file.size) {
    if (signal.aborted) throw new DOMException("Stopped.", "AbortError");
    const { offset } = upload;
    const piece = file.slice(offset, Math.min(file.size, offset + PIECE_BYTES));
    upload = await patiently(signal, () => sendPiece(root, upload.id, offset, piece, { signal, onProgress: (bytes) => onProgress(offset + bytes) }));
    onProgress(upload.offset);
  }
  try {
    await patiently(signal, () => api.finishEntryUpload(root, upload.id));
  } catch (problem) {
    // It may not replace what is there now, and never will: another try has to begin anew.
    if (problem.status === 412) await api.dropEntryUpload(root, upload.id);
    throw problem;
  }
  localStorage.removeItem(memoryOf(upload.id));
}

/** A piece may have arrived although its answer did not: then the box says how far it is. */
async function sendPiece(root, id, offset, piece, options) {
  try {
    return await api.continueEntryUpload(root, id, offset, piece, options);
  } catch (problem) {
    if (problem.code === "wrong_offset") return api.entryUpload(root, id);
    throw problem;
  }
}

/**
 * Sends a large file in parts of the size that the daemon names. Parts that it has from an earlier
 * try, also of an earlier visit, are not sent again, unless the file has changed since.
 */
async function sendInParts(dataset, version, { path, file }, signal, onProgress) {
  const upload = await resumable(dataset, version, path, file);
  let sent = 0;
  const count = Math.ceil(file.size / upload.partBytes);
  for (let number = 1; number <= count; number += 1) {
    if (signal.aborted) throw new DOMException("Stopped.", "AbortError");
    const start = (number - 1) * upload.partBytes;
    const part = file.slice(start, Math.min(file.size, start + upload.partBytes));
    const before = sent;
    if (upload.parts.get(number) !== part.size) {
      await patiently(signal, () => api.putPart(dataset, version, upload.id, number, part, { signal, onProgress: (bytes) => onProgress(before + bytes) }));
    }
    sent += part.size;
    onProgress(sent);
  }
  await patiently(signal, () => api.completeMultipart(dataset, version, upload.id));
  localStorage.removeItem(memoryOf(upload.id));
}

/** The unfinished upload of this very file, or a new one. */
async function resumable(dataset, version, path, file) {
  const looks = looksOf(file);
  const { items } = await api.multipartUploads(dataset, version);
  for (const earlier of items.filter((candidate) => candidate.path === path)) {
    const { partBytes } = earlier;
    if (localStorage.getItem(memoryOf(earlier.id)) === looks) {
      return { id: earlier.id, partBytes, parts: new Map(earlier.parts.map(({ number, bytes }) => [number, bytes])) };
    }
  }
  const { id, partBytes } = await api.beginMultipart(dataset, version, path);
  localStorage.setItem(memoryOf(id), looks);
  return { id, partBytes, parts: new Map() };
}

/** By what a file is known again at a later visit. */
function looksOf(file) {
  return `${file.size}/${file.lastModified}`;
}

function memoryOf(upload) {
  return `upload.${upload}`;
}
