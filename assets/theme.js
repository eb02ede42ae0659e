// Sets the theme before the first paint. A plain script, since modules run after it.
(() => {
  const chosen = localStorage.getItem("theme"); // "light", "dark", or absent: as the system says.
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
