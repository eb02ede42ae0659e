// Says on whatever page one is that a session of one's own ends soon, while it can still be extended.
import { api } from "/api.js";
import { events } from "/events.js";
import { duration } from "/format.js";
import { firstEnd } from "/components/notebook-words.js";
import { toast } from "/components/toast-list.js";

let stop = null;

/** Warns this user from now on; called at each sign-in. */
export function warnOfStops(user) {
  stop?.();
  stop = events.watch(["notebook"], async ({ id, change }) => {
    if (change !== "stops-soon") return;
    try {
      const notebook = await api.notebook(id);
      const end = firstEnd(notebook.session);
      if (!end || notebook.user.id !== user.id) return;
      const left = duration(Math.max(0, Math.round((Date.parse(end.at) - Date.now()) / 60_000) * 60));
      const why = end.idle ? "as nothing is done in it" : "as its time is over";
      toast(`${notebook.name} stops in ${left}, ${why}. Its files are kept.`, "waiting", `/notebooks/${id}`);
    } catch {
      // It is gone, so nothing is left to warn of.
    }
  });
}
