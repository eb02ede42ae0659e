// Opening what a container serves in another tab, through its own origin.
import { api } from "/api.js";
import { toast } from "/components/toast-list.js";

/** A tab for what is opened in a moment, as browsers hold back what opens later than the click; null where they do. */
export function blankTab() {
  const tab = window.open("about:blank", "_blank");
  if (tab) tab.opener = null;
  return tab;
}

/**
 * Opens a workload: its main port, or another `port`. `path` is beneath where the workload begins,
 * without a leading slash, each part escaped. `tab` is a blank one that was opened before.
 */
export async function openWorkload(id, { port, path = "", tab = blankTab() } = {}) {
  try {
    const address = new URL((await api.openWorkload(id, port ? { port } : {})).url);
    address.pathname = `${address.pathname.replace(/\/$/, "")}/${path}`;
    if (tab) tab.location.replace(address.href);
    else location.assign(address.href);
    return true;
  } catch (problem) {
    tab?.close();
    toast(problem.detail ?? problem.message, "bad");
    return false;
  }
}
