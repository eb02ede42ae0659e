// Starts the UI: the shell, the routes, the session, the event stream.
import { api, onSignedOut } from "/api.js";
import { events } from "/events.js";
import { route, start, go } from "/router.js";
import "/components/app-shell.js";
import "/components/keyboard-help.js";
import { warnOfStops } from "/components/stop-warnings.js";

route("/", () => import("/pages/overview.js"));
route("/sign-in", () => import("/pages/sign-in.js"));
route("/jobs", () => import("/pages/jobs.js"));
route("/jobs/new", () => import("/pages/new-job.js"));
route("/jobs/:id", () => import("/pages/job.js"));
route("/jobs/:id/:tab", () => import("/pages/job.js"));
route("/notebooks", () => import("/pages/notebooks.js"));
route("/notebooks/new", () => import("/pages/new-notebook.js"));
route("/notebooks/:id", () => import("/pages/notebook.js"));
route("/notebooks/:id/:tab", () => import("/pages/notebook.js"));
route("/tensorboards", () => import("/pages/tensorboards.js"));
route("/tensorboards/new", () => import("/pages/new-tensorboard.js"));
route("/tensorboards/:id", () => import("/pages/tensorboard.js"));
route("/tensorboards/:id/:tab", () => import("/pages/tensorboard.js"));
route("/github/*rest", () => import("/pages/run-repository.js"));
route("/git/*rest", () => import("/pages/run-repository.js"));
route("/experiments", () => import("/pages/experiments.js"));
route("/experiments/:id", () => import("/pages/experiment.js"));
route("/projects", () => import("/pages/projects.js"));
route("/projects/:id", () => import("/pages/project.js"));
route("/datasets", () => import("/pages/datasets.js"));
route("/datasets/:id", () => import("/pages/dataset.js"));
route("/datasets/:id/versions/:version", () => import("/pages/version.js"));
route("/datasets/:id/versions/:version/:tab", () => import("/pages/version.js"));
route("/storage", () => import("/pages/storage.js"));
route("/storage/files", () => import("/pages/team-files.js"));
route("/secrets", () => import("/pages/secrets.js"));
route("/keys", () => import("/pages/keys.js"));

const shell = document.querySelector("app-shell");

/** Without a session every page is the sign-in page, which leads back to where one wanted to go. */
onSignedOut(() => {
  events.close();
  shell.session = null;
  if (location.pathname === "/sign-in") return;
  const wanted = location.pathname + location.search + location.hash;
  go(wanted === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(wanted)}`, { replace: true });
});

/** Asks who is signed in; called at the start and after each sign-in. */
export async function enter() {
  try {
    shell.session = await api.session();
    events.open();
    warnOfStops(shell.session.user);
    return true;
  } catch (problem) {
    if (problem.status !== 401) shell.startProblem = problem;
    return false;
  }
}

document.addEventListener("signed-in", enter);
// A revoked key ends the stream, and the stream alone cannot say why.
events.addEventListener("refused", () => api.checkSession().catch(() => {}));

const signingIn = location.pathname === "/sign-in";
if (signingIn || (await enter())) start(shell.outlet);
else if (!shell.startProblem) start(shell.outlet);
