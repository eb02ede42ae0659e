// The template library, by the one name the pages use; a new version is named here alone.
export { html, nothing, render, svg } from "/vendor/lit-html@3.3.3/lit-html.js";
export { repeat } from "/vendor/lit-html@3.3.3/directives/repeat.js";
export { live } from "/vendor/lit-html@3.3.3/directives/live.js";
