// <state-chip state="running" phase="…">: where a job, a version or an import stands, as a coloured word.
const TONE = { provisioned: "live", running: "live", stopped: "good", failed: "bad", error: "bad", cancelled: "quiet", created: "quiet", uncommitted: "waiting", committed: "good", done: "good", collecting: "live", empty: "quiet" };
const PHASE_TONE = { preparing: "live", starting: "live", queued: "waiting", backoff: "waiting", teardown: "live" };

const MEANING = {
  preparing: "Getting the image and the workspace ready. No GPU is held yet.",
  queued: "Waiting until what it needs is free.",
  backoff: "The last attempt failed; the next one starts soon.",
  starting: "The container is being started.",
  running: "The command runs.",
  teardown: "The command has ended; artifacts and logs are being kept.",
  stopped: "Finished with exit code 0.",
  failed: "Finished with another exit code than 0, or was ended for a reason of its own.",
  error: "Could not be set up or completed.",
  cancelled: "Stopped by hand.",
  created: "Kept, and not started yet.",
  uncommitted: "A draft: files may be added, replaced and deleted. Jobs cannot read it yet.",
  draft: "Kept as a draft, since the run did not end well.",
  empty: "Nothing was left there, so no version was made.",
  committed: "It never changes again. Jobs read it by its reference.",
};

class StateChip extends HTMLElement {
  static observedAttributes = ["state", "phase"];

  attributeChangedCallback() {
    const state = this.getAttribute("state");
    const phase = this.getAttribute("phase");
    const word = phase || state || "";
    this.dataset.tone = PHASE_TONE[phase] ?? TONE[state] ?? "waiting";
    this.textContent = word; // The word carries the meaning; colour only helps.
    this.title = MEANING[word] ?? "";
  }
}
customElements.define("state-chip", StateChip);
