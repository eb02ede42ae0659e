// The colours of terminals, light and dark, as the rest of the page has them.

const LIGHT = {
  background: "#fbfbf9", foreground: "#1c1b19", cursor: "#3f51d6", cursorAccent: "#ffffff",
  selectionBackground: "#cfd5fa", selectionInactiveBackground: "#e3e2dc",
  scrollbarSliderBackground: "#00000022", scrollbarSliderHoverBackground: "#00000038", scrollbarSliderActiveBackground: "#0000004d",
  black: "#1c1b19", red: "#b3352c", green: "#1f7a4d", yellow: "#8a5d00", blue: "#2f5fc4", magenta: "#9a3a8c", cyan: "#0f7a80", white: "#706d65",
  brightBlack: "#706d65", brightRed: "#d0443a", brightGreen: "#258f5b", brightYellow: "#a06f06", brightBlue: "#3f51d6", brightMagenta: "#b545a5", brightCyan: "#138f96", brightWhite: "#1c1b19",
};

const DARK = {
  background: "#131416", foreground: "#ececef", cursor: "#96a3ff", cursorAccent: "#12131a",
  selectionBackground: "#39406f", selectionInactiveBackground: "#2c2f36",
  scrollbarSliderBackground: "#ffffff1f", scrollbarSliderHoverBackground: "#ffffff33", scrollbarSliderActiveBackground: "#ffffff47",
  black: "#3a3d44", red: "#ff8a7e", green: "#6dd3a2", yellow: "#e5b454", blue: "#82b1ff", magenta: "#e69bd9", cyan: "#63d0d6", white: "#d5d6dc",
  brightBlack: "#8e9098", brightRed: "#ffa79e", brightGreen: "#93e3bd", brightYellow: "#f3cb7f", brightBlue: "#a5c6ff", brightMagenta: "#f0b9e6", brightCyan: "#93e0e4", brightWhite: "#ffffff",
};

const system = matchMedia("(prefers-color-scheme: dark)");

/** The colours that fit the page now. */
export function terminalTheme() {
  const chosen = document.documentElement.dataset.theme;
  return (chosen ? chosen === "dark" : system.matches) ? DARK : LIGHT;
}

/** Calls `changed` whenever the page becomes light or dark; returns what ends that. */
export function watchTheme(changed) {
  const watcher = new MutationObserver(changed);
  watcher.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  system.addEventListener("change", changed);
  return () => {
    watcher.disconnect();
    system.removeEventListener("change", changed);
  };
}
