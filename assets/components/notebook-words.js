// Where a notebook stands and what to do next, in words. No page, no requests.

/** Below this a session's end is near enough to be warned of; of a short limit, its last quarter. */
export const NEAR_SECONDS = 600;

/** Whether it has a session, be it one that is about to begin or to end. */
export const isLive = (notebook) => Boolean(notebook.phase);

/** What its chip shows beside the state: a container that runs is not yet a notebook that answers. */
export function phaseWord({ phase, ready }) {
  return phase === "running" && !ready ? "starting" : (phase ?? "");
}

/** Why it cannot be opened just now, for people; null when it can. */
export function whyNotOpen(notebook) {
  if (notebook.ready && notebook.phase === "running") return null;
  if (notebook.copying) return "Its files are still being copied.";
  switch (notebook.phase) {
    case "queued":
      return "It waits for its machine.";
    case "preparing":
      return "Its image and files are being made ready.";
    case "teardown":
      return "It is being stopped.";
    case "starting":
    case "running":
      return "Its server does not answer yet; it can be opened in a moment.";
    default:
      return "It is not running. Start it first.";
  }
}

/** Why no terminal can be opened in it, or nothing. */
export function whyNoTerminal(notebook) {
  if (notebook.session?.state === "running") return null;
  return isLive(notebook) ? "It is on its way. A terminal can be opened as soon as its container runs." : "It does not run. Start it, then open a terminal.";
}

/** What is worth saying beside the state: { tone, icon, title, text, log }, or null. `log` says that the log tells more. */
export function notebookNote(notebook) {
  if (notebook.contact === "unknown" && isLive(notebook)) {
    return { tone: "waiting", icon: "unplug", title: "The engine does not answer", text: "The notebook goes on if its container does; its state is what was last seen." };
  }
  if (notebook.copying) {
    const copied = notebook.copying === true ? "" : (notebook.copying.message ?? "");
    return { tone: "waiting", icon: "copy", title: "Its files are being copied", text: copied || "It can be started when all of them are there." };
  }
  if (notebook.phase === "queued") return queueNote(notebook);
  if (notebook.state === "failed" || notebook.state === "error") {
    return { tone: "bad", icon: "circle-alert", title: sentence(notebook.message) || "It ended badly", text: "Its files are kept.", log: Boolean(notebook.session) };
  }
  if (notebook.message && !isLive(notebook)) return { tone: "quiet", icon: "clock", title: sentence(notebook.message), text: "" };
  return null;
}

/** What is said of a run that waits for its machine; the page says why it does where `queue` is there. */
export function queueNote({ queue }) {
  return { tone: "waiting", icon: "clock", title: queue?.position ? `Number ${queue.position} in the queue` : "In the queue", text: "", queue };
}

/** Which of its limits ends a session first, if nothing is done: { at, idle }, or null where none does. */
export function firstEnd(session) {
  const { shutsDownAt, idleAt } = session ?? {};
  if (!shutsDownAt && !idleAt) return null;
  const idle = Boolean(idleAt) && (!shutsDownAt || Date.parse(idleAt) < Date.parse(shutsDownAt));
  return { at: idle ? idleAt : shutsDownAt, idle };
}

/** Whether the first end of a session is so near that people should know. */
export function isNear(session, now = Date.now()) {
  const end = firstEnd(session);
  if (!end) return false;
  const since = end.idle ? (session.activity?.at ?? session.readyAt) : session.startedAt;
  const limit = since ? Date.parse(end.at) - Date.parse(since) : Infinity;
  return Date.parse(end.at) - now < Math.min(NEAR_SECONDS * 1000, limit / 4);
}

/** Seconds from now to so much later than a session was to end; from now alone where it had no end. */
export function extended(session, more, now = Date.now()) {
  const left = session?.shutsDownAt ? (Date.parse(session.shutsDownAt) - now) / 1000 : 0;
  return Math.round(Math.max(0, left) + more);
}

/** A message of the API as the beginning of a sentence. */
export function sentence(message) {
  return message ? message.charAt(0).toUpperCase() + message.slice(1) : "";
}
