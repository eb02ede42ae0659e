// A log line's bytes for a terminal, as spans for a page: colours become classes, the rest goes.
import { createAnsiSequenceParser, namedColors } from "/vendor/ansi-sequence-parser@1.1.3/dist/index.js";

// Every control sequence but colour and weight ("m"): cursor moves, erasures, window titles, charset choices.
const OTHER_SEQUENCES = /\x1b\[[0-?]*[ -/]*[@-ln-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b[=>78DEHMc]/g;
const COLOUR_SEQUENCES = /\x1b\[[0-9;:]*m/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f]/g;

/** What a terminal would show at the end of a line that was rewritten with carriage returns. */
export function lastState(text) {
  if (!text.includes("\r")) return text;
  const states = text.split("\r").filter((state) => state !== "");
  return states.at(-1) ?? "";
}

/** The line without anything but its words, for search and copying. */
export function plain(text) {
  return lastState(text).replace(OTHER_SEQUENCES, "").replace(COLOUR_SEQUENCES, "").replace(CONTROLS, "");
}

/** Appends a line to the element as text nodes and spans. Nothing in it can become markup. */
export function appendAnsi(element, text) {
  const shown = lastState(text).replace(OTHER_SEQUENCES, "");
  if (!shown.includes("\x1b")) {
    element.append(shown.replace(CONTROLS, ""));
    return;
  }
  for (const token of createAnsiSequenceParser().parse(shown)) {
    const words = token.value.replace(CONTROLS, "");
    if (!words) continue;
    const span = document.createElement("span");
    span.textContent = words;
    for (const decoration of token.decorations) span.classList.add(`ansi-${decoration}`);
    paint(span, token.foreground, "fg", "color");
    paint(span, token.background, "bg", "backgroundColor");
    element.append(span);
  }
}

/** The sixteen named colours follow the theme; others are shown as asked. */
function paint(span, colour, kind, property) {
  if (!colour) return;
  const name = colour.type === "named" ? colour.name : colour.type === "table" ? namedColors[colour.index] : null;
  if (name) span.classList.add(`ansi-${kind}-${name}`);
  else span.style[property] = colour.type === "rgb" ? `rgb(${colour.rgb.join(" ")})` : tableColour(colour.index);
}

/** Colours 16–231 are a cube of six steps a side, 232–255 a grey scale. */
function tableColour(index) {
  if (!(index >= 16 && index <= 255)) return "";
  if (index >= 232) return `rgb(${Array(3).fill(8 + (index - 232) * 10).join(" ")})`;
  const steps = [0, 95, 135, 175, 215, 255];
  const place = index - 16;
  return `rgb(${[Math.floor(place / 36), Math.floor(place / 6) % 6, place % 6].map((step) => steps[step]).join(" ")})`;
}
