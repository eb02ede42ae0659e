// What an address such as /github/OWNER/REPO/blob/REF/PATH.ipynb means, and the badge that leads there.
// No page, no requests.

/** A link of a repository's README, without the address of the box in front. */
const BADGE = "/run-on-gradient.svg";

/**
 * Reads a path of the UI beneath /github or /git: { host, repository, git, ref, file }, or null where
 * it names no repository. A part of the path that says "blob", "tree", "raw" or "src" (as the hosts'
 * own addresses do) ends the repository's name; the part after it is the ref, which therefore holds no
 * slash.
 */
export function readRepository(path) {
  const parts = path.split("/").filter(Boolean).map(decode);
  if (parts.some((part) => part === null || part === "." || part === "..")) return null;
  const host = parts.shift() === "github" ? "github.com" : parts.shift();
  if (!host || !/^[\w.-]+(:\d+)?$/.test(host)) return null;
  const end = parts.findIndex((part, i) => i >= 2 && ["-", "blob", "tree", "raw", "src"].includes(part));
  const names = end < 0 ? parts : parts.slice(0, end);
  if (names.length < 2 || names.some((name) => !/^[\w.~-]+$/.test(name) || name.startsWith("-"))) return null;
  const rest = end < 0 ? [] : parts.slice(end).filter((part, i) => !(i === 0 && part === "-"));
  const kind = rest.shift();
  // Gitea and Forgejo say what kind of a ref it is.
  if (kind === "src" && ["branch", "tag", "commit"].includes(rest[0])) rest.shift();
  const repository = names.join("/").replace(/\.git$/, "");
  const ref = rest.shift() ?? "";
  return { host, repository, git: `https://${host}/${repository}.git`, ref: ref === "HEAD" ? "" : ref, file: rest.join("/") };
}

/** The path of the UI that asks to run a file of a repository; null for what is no https address. */
export function runPath({ git, ref, file, image }) {
  const found = /^https:\/\/([\w.-]+(?::\d+)?)\/([\w.~/-]+?)(?:\.git)?\/?$/.exec(git ?? "");
  if (!found || !found[2].includes("/")) return null;
  const [, host, repository] = found;
  const home = host === "github.com" ? `/github/${repository}` : `/git/${host}/${repository}`;
  const place = ref || file ? `/blob/${[ref || "HEAD", ...(file ?? "").split("/")].filter(Boolean).map(encodeURIComponent).join("/")}` : "";
  const query = new URLSearchParams({ clone: "true", ...(image ? { runtime: image } : {}) });
  return `${home}${place}?${query}`;
}

/** The badge that leads to such a path on the box at `origin`, for a README. */
export function badgeMarkdown(origin, path) {
  return `[![Run on Gradient](${origin}${BADGE})](${origin}${path})`;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}
