// What the form of a TensorBoard holds, and what the API takes: the two ways between them, without a page.
import { memberOf } from "/components/tensorboard-words.js";

/** The form as it begins. Image and machine type are "" for what the box has as its usual, as is `idle`, which is seconds or "never" else. */
export function emptyBoard() {
  return { name: "", project: "", image: "", machineType: "", idle: "", members: [] };
}

/** The form as a TensorBoard fills it; its members are changed elsewhere. */
export function draftOfBoard({ name, project, image, machineType, idleSeconds }) {
  return { ...emptyBoard(), name, project: project.name, image, machineType: machineType ?? "", idle: idleSeconds === null ? "never" : String(idleSeconds) };
}

/** The body of `POST /tensorboards`. What was left empty is left out, so that the daemon's defaults hold. */
export function specOfBoard(draft) {
  const spec = { name: draft.name.trim(), project: draft.project.trim(), image: draft.image.trim(), machineType: draft.machineType };
  return {
    ...Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== "")),
    ...(draft.idle === "" ? {} : { idleSeconds: idleOf(draft) }),
    ...(draft.members.length ? { members: draft.members.map(memberOf) } : {}),
  };
}

/** What a form that began as `before` changes: the body of `PATCH /tensorboards/ID`. What was emptied is the box's again. */
export function changesOfBoard(before, draft) {
  const changes = {};
  for (const name of ["name", "project"]) if (draft[name].trim() !== before[name]) changes[name] = draft[name].trim();
  for (const name of ["image", "machineType"]) if (draft[name].trim() !== before[name]) changes[name] = draft[name].trim() || null;
  if (draft.idle !== before.idle) changes.idleSeconds = idleOf(draft);
  return changes;
}

function idleOf({ idle }) {
  return idle === "never" ? null : Number(idle);
}
