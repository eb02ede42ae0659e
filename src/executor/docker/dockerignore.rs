//! The rules of a `.dockerignore`: which paths of a build's directory are not sent.
//!
//! They are not git's: a pattern counts from the root, `**` crosses directories, the last rule that
//! fits wins, and `!` brings back also what lies below a directory that is left out.

use std::{io, path::Path};

use super::build::read_inside;

/// The largest file of rules, in bytes, and the most rules: each is asked about every path.
const LARGEST: u64 = 64 << 10;
const MOST: usize = 1000;

/// The rules of one build.
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

struct Rule {
    /// The pattern's path segments.
    segments: Vec<String>,
    /// Whether the rule brings back what an earlier one left out.
    wanted: bool,
}

impl Ignore {
    /// Reads `.dockerignore` in `dir`, or the one beside the Dockerfile that is named for it. The
    /// Dockerfile and the rules themselves are always sent: the engine reads them.
    ///
    /// # Errors
    /// When the rules are too many, or no plain file.
    pub(super) fn read(dir: &Path, dockerfile: &str) -> io::Result<Self> {
        for name in [&format!("{dockerfile}.dockerignore"), ".dockerignore"] {
            let Some(text) = read_inside(dir, name, LARGEST)? else { continue };
            let ignore = Self::parse(&text, dockerfile);
            if ignore.rules.len() > MOST {
                let words = format!("{name} has more than {MOST} rules: leave some out");
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            return Ok(ignore);
        }
        Ok(Self { rules: Vec::new() })
    }

    fn parse(text: &str, dockerfile: &str) -> Self {
        let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#'));
        let mut rules: Vec<Rule> = lines.filter_map(Rule::parse).collect();
        if !rules.is_empty() {
            rules.extend(
                [format!("!{dockerfile}"), "!.dockerignore".into()].iter().filter_map(|line| Rule::parse(line)),
            );
        }
        Self { rules }
    }

    /// Tells whether `path`, with slashes and relative to the directory, is not sent.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').collect();
        // A rule that fits a directory fits everything below it.
        let fits = |rule: &Rule| fits_some_start(&rule.segments, &path);
        self.rules.iter().rev().find(|rule| fits(rule)).is_some_and(|rule| !rule.wanted)
    }

    /// Tells whether something below the directory `path` may be sent although it is not.
    pub(super) fn may_want_below(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').collect();
        self.rules.iter().filter(|rule| rule.wanted).any(|rule| {
            rule.segments.iter().zip(&path).take_while(|(segment, _)| *segment != "**").all(|(s, p)| glob(s, p))
        })
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let (wanted, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut segments: Vec<String> = Vec::new();
        for segment in line.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                other => segments.push(other.to_owned()),
            }
        }
        (!segments.is_empty()).then_some(Self { segments, wanted })
    }
}

/// Tells whether the pattern's segments fit the path or one of the directories that it is in.
///
/// Goes through the path once, keeping how far into the pattern one can be, so the work is at most the
/// product of the lengths however many `**` there are.
fn fits_some_start(pattern: &[String], path: &[&str]) -> bool {
    // Whether the first so many segments of the pattern fit what was passed so far.
    let mut reached = vec![false; pattern.len() + 1];
    reached[0] = true;
    skip_stars(pattern, &mut reached);
    for name in path {
        let mut next = vec![false; pattern.len() + 1];
        for (at, segment) in pattern.iter().enumerate().filter(|(at, _)| reached[*at]) {
            if segment == "**" {
                next[at] = true;
                // At the pattern's end it stands for at least one segment: this one.
                next[at + 1] |= at + 1 == pattern.len();
            } else if glob(segment, name) {
                next[at + 1] = true;
            }
        }
        skip_stars(pattern, &mut next);
        if next[pattern.len()] {
            return true;
        }
        reached = next;
    }
    false
}

/// `**` also stands for no directory at all, but for one at the pattern's end.
fn skip_stars(pattern: &[String], reached: &mut [bool]) {
    for at in 0..pattern.len().saturating_sub(1) {
        if reached[at] && pattern[at] == "**" {
            reached[at + 1] = true;
        }
    }
}

/// Tells whether one segment fits: `*`, `?`, `[a-z]`, `[^a-z]` and `\` as in a shell.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    glob_chars(&pattern, &name)
}

fn glob_chars(pattern: &[char], name: &[char]) -> bool {
    // Where to go on when what follows the last star does not fit: one character further. Only the
    // last star matters, so the work is at most the product of the lengths.
    let (mut p, mut n, mut star) = (0, 0, None);
    loop {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        let fits = name.get(n).and_then(|c| one(&pattern[p..], *c));
        match fits {
            None if p == pattern.len() && n == name.len() => return true,
            Some(length) => {
                p += length;
                n += 1;
            }
            None => match star {
                Some((at, from)) if from < name.len() => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
}

/// Tells how much of the pattern's start stands for `c`, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    let (fits, length) = match *pattern.first()? {
        '?' => (true, 1),
        '\\' if pattern.len() > 1 => (c == pattern[1], 2),
        '[' => {
            let end = pattern.iter().position(|c| *c == ']')?;
            let (not, set) = match pattern[1..end].split_first() {
                Some(('^' | '!', rest)) => (true, rest),
                _ => (false, &pattern[1..end]),
            };
            (in_set(set, c) != not, end + 1)
        }
        literal => (c == literal, 1),
    };
    fits.then_some(length)
}

fn in_set(mut set: &[char], c: char) -> bool {
    loop {
        match set {
            [] => return false,
            [from, '-', to, ..] if (*from..=*to).contains(&c) => return true,
            [_, '-', _, rest @ ..] => set = rest,
            [only, ..] if *only == c => return true,
            [_, rest @ ..] => set = rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_docker_s_and_not_git_s() {
        for (rules, path, left_out) in [
            ("*.md", "README.md", true),
            // Git would leave this out as well.
            ("*.md", "docs/README.md", false),
            ("**/*.md", "docs/a/README.md", true),
            ("**/*.md", "README.md", true),
            ("*/temp*", "some/temporary.txt", true),
            ("*/temp*", "some/sub/temporary.txt", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("/node_modules/", "node_modules/a/b", true),
            ("a/../b", "b", true),
            ("*\n!keep", "keep/file", false),
            ("*\n!keep", "other", true),
            ("*\n!keep\nkeep/not", "keep/not", true),
            ("# *\n", "x", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*", "Dockerfile", false),
            ("**", "a/b", true),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b/c", true),
            ("a/**/b", "a/x", false),
            ("**/**/b", "b", true),
        ] {
            assert_eq!(Ignore::parse(rules, "Dockerfile").leaves_out(path), left_out, "{rules:?} and {path}");
        }
    }

    #[test]
    fn rules_without_measure_or_behind_a_link_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join(".dockerignore");
        std::fs::write(&rules, "a\n".repeat(MOST + 1)).unwrap();
        assert!(Ignore::read(dir.path(), "Dockerfile").is_err());
        std::fs::write(&rules, " ".repeat(LARGEST as usize + 1)).unwrap();
        assert!(Ignore::read(dir.path(), "Dockerfile").is_err());
        std::fs::remove_file(&rules).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &rules).unwrap();
        assert!(Ignore::read(dir.path(), "Dockerfile").is_err());
    }

    #[test]
    fn a_directory_is_entered_only_if_something_in_it_may_come_back() {
        let ignore = Ignore::parse("*\n!a/b/c\n!x/**/y", "Dockerfile");
        assert!(ignore.may_want_below("a"));
        assert!(ignore.may_want_below("a/b"));
        assert!(!ignore.may_want_below("data"));
        assert!(ignore.may_want_below("x/anything/at/all"));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let deep = vec!["a"; 100].join("/");
        assert!(!Ignore::parse(&("**/a/".repeat(60) + "b"), "Dockerfile").leaves_out(&deep));
        assert!(!glob(&"*a".repeat(200), &"a".repeat(199)));
    }
}
