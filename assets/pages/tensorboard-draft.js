// What the form of a TensorBoard holds, and what the API takes: the two ways between them, without a page.
import { memberOf } from "/components/tensorboard-words.js";

/** The form as it begins. Image and machine type are "" for what the box has as its usual, as is `idle`, which is seconds or "never" else. */
export function emptyBoard() {
  return { name: "", project: "", image: "", registryUsername: "", registryPassword: "", machineType: "", idle: "", members: [] };
}

/** The form as a TensorBoard fills it; its members are changed elsewhere. A password is not in it, but for the name of a secret. */
export function draftOfBoard({ name, project, image, registryUsername, registryPassword, machineType, idleSeconds }) {
  return { ...emptyBoard(), name, project: project.name, image, registryUsername: registryUsername ?? "", registryPassword: registryPassword ?? "", machineType: machineType ?? "", idle: idleSeconds === null ? "never" : String(idleSeconds) };
}

/** The body of `POST /tensorboards`. What was left empty is left out, so that the daemon's defaults hold. */
export function specOfBoard(draft) {
  const spec = { name: draft.name.trim(), project: draft.project.trim(), image: draft.image.trim(), registryUsername: draft.registryUsername.trim(), registryPassword: draft.registryPassword, machineType: draft.machineType };
  return {
    ...Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== "")),
    ...(draft.idle === "" ? {} : { idleSeconds: idleOf(draft) }),
    ...(draft.members.length ? { members: draft.members.map(memberOf) } : {}),
  };
}

/** What a form that began with this TensorBoard changes: the body of `PATCH /tensorboards/ID`. What was emptied is the box's again; a password that was is as it was, until the user name is emptied as well. */
export function changesOfBoard(board, draft) {
  // A machine type that is not there any more is none to stay with: the form begins with the box's usual one.
  const before = { ...draftOfBoard(board), machineType: board.machineType };
  const changes = {};
  for (const name of ["name", "project"]) if (draft[name].trim() !== before[name]) changes[name] = draft[name].trim();
  for (const name of ["image", "registryUsername", "machineType"]) if (draft[name].trim() !== before[name]) changes[name] = draft[name].trim() || null;
  if (draft.registryPassword && draft.registryPassword !== before.registryPassword) changes.registryPassword = draft.registryPassword;
  if (draft.idle !== before.idle) changes.idleSeconds = idleOf(draft);
  return changes;
}

function idleOf({ idle }) {
  return idle === "never" ? null : Number(idle);
}
