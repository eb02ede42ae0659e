// The fields of a form over a draft, and where a problem of the API is told: beside the field that it names.
import { html, nothing } from "/html.js";
import { duration } from "/format.js";
import "/components/env-editor.js";

/**
 * Draws the fields of `form`, which has a `draft`, a `problem` and `edit(changes)`. `shown()` are the names, as the
 * API has them, of the fields that are drawn now; a problem in another one is for the form to tell.
 */
export class FormFields {
  constructor(form, shown) {
    Object.assign(this, { form, shown });
  }

  /** The wrong field, by the first name in a path such as "env.KEY" or "ports[0]"; null where that is not drawn. */
  wrongField() {
    const name = this.form.problem?.field?.split(/[.[]/)[0];
    return this.shown().includes(name) ? name : null;
  }

  invalid(name) {
    return this.wrongField() === name ? "true" : nothing;
  }

  /** What is wrong with a field, for below it. */
  wrong(name) {
    return this.wrongField() === name ? html`<span class="wrong" role="alert">${this.form.problem.detail}</span>` : nothing;
  }

  /** A labelled control. */
  field(name, label, control, hint) {
    return html`<div class="field"><label for=${name}>${label}</label>${control}${hint ? html`<span class="hint">${hint}</span>` : nothing}${this.wrong(name)}</div>`;
  }

  bind(name) {
    return (event) => this.form.edit({ [name]: event.target.value });
  }

  /** An input of the draft's `name`; `field` is what the API calls it, where that is another name. */
  input(name, placeholder = "", { type = "text", mono = false, options, field = name, required = false } = {}) {
    return html`<input id=${field} name=${name} type=${type} class=${mono ? "mono" : ""} placeholder=${placeholder} .value=${this.form.draft[name]} list=${options ?? nothing} ?required=${required} autocomplete="off" spellcheck="false" aria-invalid=${this.invalid(field)} @input=${this.bind(name)}>`;
  }

  /** An input for a password, best the name of a secret. */
  password(name) {
    return this.input(name, "secret:NAME", { mono: true, options: "secret-names" });
  }

  /** The secrets that a password may name. */
  secretNames(secrets) {
    return html`<datalist id="secret-names">${namesOf(secrets).map((name) => html`<option value="secret:${name}"></option>`)}</datalist>`;
  }

  /** The variables, and the secrets that they and passwords may name. */
  environment(secrets) {
    return html`
      <section class="form-section"><h2>Environment</h2>
        <env-editor .rows=${this.form.draft.env} .secrets=${namesOf(secrets)} @edit=${(event) => this.form.edit({ env: event.detail })}></env-editor>
        ${this.secretNames(secrets)}
        ${this.wrong("env")}
      </section>`;
  }

  /** The name of the project, with those that there are. */
  project(projects) {
    return html`${this.field("project", "Project", this.input("project", "default", { options: "project-names" }), "A new name makes a new project.")}<datalist id="project-names">${projects?.items.map((project) => html`<option value=${project.name}></option>`)}</datalist>`;
  }

  /** When something ends by itself: a choice of seconds, of which the draft's own is one. */
  limit(name, choices, { field = name, never = true, usual = true } = {}) {
    const now = this.form.draft[name];
    const seconds = [...new Set([...choices, ...(/^\d+$/.test(now) ? [Number(now)] : [])])].sort((a, b) => a - b);
    const option = (value, words) => html`<option value=${value} ?selected=${String(value) === now}>${words}</option>`;
    return html`<select id=${field} name=${name} aria-invalid=${this.invalid(field)} @change=${this.bind(name)}>
      ${usual ? option("", "As usual on this box") : nothing}
      ${seconds.map((value) => option(value, `After ${duration(value)}`))}
      ${never || now === "never" ? option("never", "Never") : nothing}
    </select>`;
  }

  /** Leads to the field that a problem names, which may be folded away, once for each problem; for after a drawing. */
  lead() {
    const { problem } = this.form;
    if (problem === this.led) return;
    this.led = problem;
    if (!problem) return;
    const wrong = this.form.querySelector('[aria-invalid="true"]');
    wrong?.closest("details")?.setAttribute("open", "");
    (wrong ?? this.form.querySelector(".wrong, .problem"))?.scrollIntoView({ block: "center" });
    wrong?.focus();
  }
}

/** The names of secrets, each once: several projects may have one of the same name. */
function namesOf(secrets) {
  return [...new Set(secrets?.items.map(({ name }) => name) ?? [])];
}
