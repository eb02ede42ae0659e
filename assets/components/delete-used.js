// Deleting what something may still use: refused first with who uses it, then forced if one insists.
import { confirm } from "/components/confirm-dialog.js";
import { toast } from "/components/toast-list.js";

/**
 * Asks, deletes by `remove(force)`, and returns whether it is gone. Where the daemon refuses because
 * it is in use, the users are named and the question is asked once more.
 */
export async function deleteUnlessUsed({ title, text, name, remove }) {
  if (!(await confirm({ title, text }))) return false;
  try {
    await remove(false);
  } catch (problem) {
    if (problem.code !== "in_use") return refused(problem);
    const insists = await confirm({
      title: `${name} is still in use`,
      text: `${problem.detail} Running jobs keep their files until they end; jobs that wait for it will fail. The answer is recorded.`,
      action: "Delete anyway",
    });
    if (!insists) return false;
    try {
      await remove(true);
    } catch (again) {
      return refused(again);
    }
  }
  toast(`${name} was deleted.`);
  return true;
}

function refused(problem) {
  toast(problem.detail, "bad");
  return false;
}
