// What a job's reason means and what to do next, in words.
import { queueNote } from "/components/notebook-words.js";

const NEXT = {
  exit_code: "Read the end of the log: the command itself said why.",
  oom: "It needed more memory than its machine type has. Choose a larger one, or use smaller batches.",
  time_limit: "It ran into its time limit. Raise the limit, or save checkpoints to /storage and go on from there.",
  image_not_found: "Check the image's name and tag. A private registry needs a user name and a password.",
  pull_failed: "The image could not be fetched. Check that the box reaches the registry, then try again.",
  registry_unauthorized: "The registry refused the credentials. Set them again, best as a secret.",
  build_failed: "Read the log: it holds the output of the build.",
  workspace_failed: "Check the git address, its ref and its credentials, or upload the archive again.",
  engine_refused: "The container engine refused the container. The message above is its own.",
  lost: "The container disappeared without its end being seen, for instance because it was removed by hand. Run it again.",
  cancelled: "It was stopped by hand.",
};

export const FINISHED = ["stopped", "failed", "error", "cancelled"];

export function isFinished(job) {
  return FINISHED.includes(job.state);
}

/** What is worth saying about a job beside its state: { tone, title, text, icon }, or null. */
export function jobNote(job) {
  if (job.contact === "unknown" && !isFinished(job)) {
    return { tone: "waiting", icon: "unplug", title: "The engine does not answer", text: "The job goes on if its container does; its state is what was last seen." };
  }
  if (job.state === "failed" || job.state === "error") {
    return { tone: "bad", icon: "circle-alert", title: job.message ?? `It ended: ${job.reason ?? job.state}.`, text: NEXT[job.reason] ?? "" };
  }
  if (job.phase === "queued") {
    return { ...queueNote(job), text: job.message ?? "" };
  }
  if (job.phase === "backoff") {
    return { tone: "waiting", icon: "clock", title: `Attempt ${job.attempt} of ${job.attempts} failed`, text: job.message ?? "The next attempt starts soon." };
  }
  if (job.message && !isFinished(job)) return { tone: "quiet", icon: "circle-alert", title: job.message, text: "" };
  return null;
}
