// Bytes, durations, dates and shares, as people read them.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const dayOnly = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** 1536 → "1.5 KiB". */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let step = 0;
  let size = Math.abs(value);
  while (size >= 1024 && step < units.length - 1) {
    size /= 1024;
    step += 1;
  }
  const digits = step === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return `${value < 0 ? "-" : ""}${trim(size.toFixed(digits))} ${units[step]}`;
}

/** 1000 millis of a core → "1 core"; 1500 → "1.5 cores". */
export function cores(millis) {
  if (millis === null || millis === undefined) return "–";
  const value = trim((millis / 1000).toFixed(2));
  return `${value} ${value === "1" ? "core" : "cores"}`;
}

/** Seconds → "850 ms", "4.2 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${trim(seconds.toFixed(1))} s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  const pairs = [[86_400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];
  const [unit, name, smaller, smallerName] = pairs.find(([size]) => whole >= size);
  const rest = Math.floor((whole % unit) / smaller);
  return `${Math.floor(whole / unit)} ${name}${rest ? ` ${rest} ${smallerName}` : ""}`;
}

/** Seconds from one RFC 3339 time to another (or to now); null where the first is missing. */
export function between(from, to) {
  if (!from) return null;
  return ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
}

/** "just now", "4 min ago", "in 2 h", then the date. */
export function ago(time) {
  if (!time) return "–";
  const seconds = between(time);
  const distance = Math.abs(seconds);
  if (distance < 5) return seconds >= 0 ? "just now" : "in a moment";
  if (distance > 7 * 86_400) return dayOnly.format(new Date(time));
  const steps = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [unit, name] = steps.find(([size]) => distance >= size);
  const words = `${Math.floor(distance / unit)} ${name}`;
  return seconds >= 0 ? `${words} ago` : `in ${words}`;
}

export function moment(time) {
  return time ? dateTime.format(new Date(time)) : "–";
}

export function percent(value) {
  return value === null || value === undefined ? "–" : `${Math.round(value)} %`;
}

export function count(value, one, many = `${one}s`) {
  return `${number.format(value)} ${value === 1 ? one : many}`;
}

export function integer(value) {
  return number.format(value);
}

/** A chart's value: about five significant digits, with an exponent where that is shorter. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(2);
  return String(Number(value.toPrecision(6)));
}

function trim(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A user's name, whether the API named or described the user. */
export function userName(user) {
  return user?.name ?? user ?? "";
}

/** Quotes a text for a POSIX shell. */
export function shellQuote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const KEY_HEADER = `-H "Authorization: Bearer $GRADIENTD_KEY"`;

/** The request that submits a job, as a command for a terminal. */
export function jobAsCurl(address, spec) {
  return postAsCurl(address, JSON.stringify(spec, null, 2));
}

/** A POST of JSON as a command for a terminal; a text is sent as it is, anything else as JSON. */
export function postAsCurl(address, body) {
  return [
    `curl -fsS ${shellQuote(address)} \\`,
    `  ${KEY_HEADER} \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -d ${shellQuote(typeof body === "string" ? body : JSON.stringify(body))}`,
  ].join("\n");
}

/** A GET, or with `file` a PUT of it, as a command for a terminal. */
export function fetchAsCurl(address, { file, output } = {}) {
  const sent = file ? ` \\\n  -T ${shellQuote(file)}` : "";
  const kept = output ? ` \\\n  -o ${shellQuote(output)}` : "";
  return `curl -fsS ${shellQuote(address)} \\\n  ${KEY_HEADER}${sent}${kept}`;
}

/** A command as one line of text, whether it was given as text or as a list. */
export function commandText(command) {
  if (command === null || command === undefined) return "";
  return Array.isArray(command) ? command.map(shellQuote).join(" ") : command;
}
