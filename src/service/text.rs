//! The rules for texts that people read: names, messages, descriptions.

use super::Invalid;

/// Checks a text that people read: its length, and that nothing in it hides.
pub(super) fn check_text(field: &str, text: String, longest: usize) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid::new(field, "empty", format!("{field} is empty: leave it out or say something")));
    }
    if text.chars().count() > longest {
        let message = format!("{field} is longer than {longest} characters: shorten it");
        return Err(Invalid::new(field, "too_long", message));
    }
    if text.chars().any(char::is_control) {
        let message = format!("{field} has control characters in it: leave them out");
        return Err(Invalid::new(field, "control_characters", message));
    }
    Ok(text)
}

/// Checks a text that may have several lines, or be empty.
pub(super) fn check_lines(field: &str, text: String, longest: usize) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    // Each line by the rule for all texts; the whole by its length.
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        check_text(field, line.replace('\t', " "), longest)?;
    }
    if text.chars().count() > longest {
        return Err(Invalid::new(
            field,
            "too_long",
            format!("{field} is longer than {longest} characters: shorten it"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_hides_nothing_and_each_line_is_held_to_that() {
        let code = |checked: Result<String, Invalid>| checked.unwrap_err().code;
        assert_eq!(code(check_text("name", "  ".to_owned(), 5)), "empty");
        assert_eq!(code(check_text("name", "ééééé!".to_owned(), 5)), "too_long");
        assert_eq!(code(check_text("name", "a\nb".to_owned(), 5)), "control_characters");
        assert_eq!(check_lines("message", "a\tb\n\nc".to_owned(), 9).unwrap(), "a\tb\n\nc");
        assert_eq!(check_lines("message", " ".to_owned(), 9).unwrap(), "");
        assert_eq!(code(check_lines("message", "a\nb\u{1b}[31m".to_owned(), 9)), "control_characters");
        assert_eq!(code(check_lines("message", "a\n".repeat(5), 9)), "too_long");
    }
}
