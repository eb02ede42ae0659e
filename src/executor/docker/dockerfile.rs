//! What a Dockerfile may not ask for. The engine itself fetches what `ADD` names by URL, from its own
//! place in the network: for whoever writes the Dockerfile it would open doors that only the box has.
//!
//! The engine's parser has changed over its versions, so this one is wary where theirs is exact: every
//! line may begin an instruction, and either escape may be in force.

/// The largest Dockerfile, in bytes.
pub(super) const LARGEST: u64 = 128 << 10;

/// Looks for sources that the engine would fetch by itself.
///
/// # Errors
/// In words, the first `ADD` that has one, or a source that cannot be told before the build.
pub(super) fn check(text: &str) -> Result<(), String> {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    for escape in ['\\', '`'] {
        for at in 0..lines.len() {
            if may_begin_add(lines[at], escape) {
                check_instruction(&joined(&lines[at..], escape)).map_err(|why| format!("line {}: {why}", at + 1))?;
            }
        }
    }
    Ok(())
}

/// Spares the joining for all other lines.
fn may_begin_add(line: &str, escape: char) -> bool {
    let line = line.trim();
    let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    // One that goes on in the next line may be any word's beginning.
    word == "add"
        || word == "onbuild"
        || line.ends_with(escape)
            && ["add", "onbuild"].iter().any(|instruction| instruction.starts_with(word.trim_end_matches(escape)))
}

/// Returns the first line with those that continue it, without the comments in between.
fn joined(lines: &[&str], escape: char) -> String {
    let mut whole = String::new();
    for (at, line) in lines.iter().enumerate() {
        let bare = line.trim();
        if at > 0 && (bare.is_empty() || bare.starts_with('#')) {
            continue;
        }
        match line.trim_end().strip_suffix(escape) {
            Some(start) => whole.push_str(start),
            None => {
                whole.push_str(line);
                break;
            }
        }
    }
    whole
}

fn check_instruction(line: &str) -> Result<(), String> {
    let mut rest = line.trim();
    let mut add = false;
    while let Some((word, after)) = rest.split_once(char::is_whitespace) {
        let word_is = |name| word.eq_ignore_ascii_case(name);
        match add {
            false if word_is("onbuild") => {}
            false if word_is("add") => add = true,
            true if word.starts_with("--") => {}
            _ => break,
        }
        rest = after.trim_start();
    }
    if !add {
        return Ok(());
    }
    let words: Vec<String> = match serde_json::from_str(rest) {
        Ok(words) => words,
        Err(_) if rest.starts_with('[') && rest.contains('\\') => {
            return Err("the list after ADD cannot be read: write it without escapes".to_owned());
        }
        Err(_) => rest.split_whitespace().map(str::to_owned).collect(),
    };
    // The last is where to, unless it stands alone.
    let sources = if words.len() > 1 { &words[..words.len() - 1] } else { &words[..] };
    for source in sources {
        // The engine takes quotes and escapes away after it has split the words.
        let bare: String = source.chars().filter(|c| !matches!(c, '"' | '\'' | '\\' | '`')).collect();
        let shown: String = bare.chars().take(200).collect();
        if bare.contains("://") || bare.to_ascii_lowercase().starts_with("git@") {
            return Err(format!(
                "ADD may not fetch {shown}, because the engine would do so from inside the box: \
                 put the file into the workspace, or fetch it in a RUN"
            ));
        }
        if bare.contains('$') {
            return Err(format!(
                "ADD may not name its source by a variable ({shown}): write the path out, or use COPY"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_workspace_may_be_added() {
        for text in [
            "FROM x\nADD . /work\nADD a b $HOME/\nADD --chown=1:1 data.tar /\nADD [\"a b\", \"/c\"]\n",
            "FROM x\nRUN curl https://example.com/a -o a && echo $HOME \\\n && add-apt-repository ppa:x\n",
            "FROM x\n# ADD http://x /\nENV ADD=http://x\nCOPY $A /b\nADDITION http://x y\n",
            "",
            "ADD",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_the_engine_would_fetch_may_not() {
        for text in [
            "FROM x\nADD http://10.0.0.1/a /a",
            "  add\thttps://x/ /a",
            "ADD --chown=1 --chmod=1 a HTTP://x/y /a",
            "ONBUILD ADD http://x /a",
            "onbuild  add http://x /a",
            "ADD [\"http://x\", \"/a\"]",
            "ADD [\"\\u0068ttp\\u003a//x\", \"/a\"]",
            "ADD [\"\\ud800http\\u003a//x\", \"/a\"]",
            "ADD git@example.com:a/b.git /a",
            "ADD ssh://git@example.com/a /a",
            "ADD \"http\":/'/x' /a",
            "ADD h\\ttp:/\\/x /a",
            "ARG U=http://x\nADD $U /a",
            "ADD ${U} /a",
            "ADD \\\n  http://x /a",
            "A\\\nDD htt\\  \n\n# comment\np://x /a",
            "# escape=`\nADD `\n http://x /a",
            "# escape=`\nRUN dir c:\\\nADD http://x /a",
            "RUN x \\\n  # ended here by some engines\nADD http://x /a",
            "ONBUI`\r\nLD ADD http://x /a\r\n",
            "\u{feff}ADD http://x /a",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        let words = check("FROM x\nADD http://x /a").unwrap_err();
        assert!(words.contains("line 2") && words.contains("http://x"), "{words}");
    }
}
