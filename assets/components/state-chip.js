// <state-chip state="running" phase="…">: where a job, a version or an import stands, as a coloured word.
// With of="notebook" or of="tensorboard", as its people see it: one that is stopped is neither well nor ill.
const TONE = { provisioned: "live", running: "live", stopped: "good", failed: "bad", error: "bad", cancelled: "quiet", created: "quiet", uncommitted: "waiting", committed: "good", done: "good", collecting: "live", empty: "quiet", mounted: "good", fetching: "live", mounting: "live", "not running": "quiet" };
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
  mounted: "The session sees it.",
  fetching: "Its files are being brought to this box.",
  mounting: "It is being put where the session sees it.",
  waiting: "It comes within seconds.",
  "not running": "It is there when the notebook runs.",
  committed: "It never changes again. Jobs read it by its reference.",
};

const NOTEBOOK_TONE = { stopped: "quiet" };
const NOTEBOOK_MEANING = {
  created: "Never started yet. Its files can be looked at and changed all the same.",
  starting: "Its container runs; its server does not answer yet.",
  running: "It can be opened.",
  teardown: "It is being stopped; its log is being kept.",
  stopped: "It holds nothing of the box. Its files are kept, and can be looked at and changed.",
  failed: "Its server ended badly or did not answer. Its files are kept.",
  error: "Its session could not be set up, or was lost. Its files are kept.",
  cancelled: "Stopped before anything ran.",
};

const BOARD_MEANING = {
  created: "Never started yet. It starts when somebody opens it.",
  starting: "Its container runs; TensorBoard does not answer yet.",
  running: "It can be opened.",
  teardown: "It is being stopped.",
  stopped: "It holds nothing of the box. It starts again when somebody opens it.",
  failed: "TensorBoard ended badly or did not answer. What it shows is kept.",
  error: "Its session could not be set up, or was lost. What it shows is kept.",
  cancelled: "Stopped before anything ran.",
};

/** What `of` says it belongs to → its tones and meanings. */
const KINDS = {
  notebook: [{ ...TONE, ...NOTEBOOK_TONE }, { ...MEANING, ...NOTEBOOK_MEANING }],
  tensorboard: [{ ...TONE, ...NOTEBOOK_TONE }, { ...MEANING, ...BOARD_MEANING }],
};

class StateChip extends HTMLElement {
  static observedAttributes = ["state", "phase", "of"];

  attributeChangedCallback() {
    const state = this.getAttribute("state");
    const phase = this.getAttribute("phase");
    const word = phase || state || "";
    const [tone, meaning] = KINDS[this.getAttribute("of")] ?? [TONE, MEANING];
    this.dataset.tone = PHASE_TONE[phase] ?? tone[state] ?? "waiting";
    this.textContent = word; // The word carries the meaning; colour only helps.
    this.title = meaning[word] ?? "";
  }
}
customElements.define("state-chip", StateChip);
