//! Parts of files: `Range`, and the conditions under which one is sent (RFC 9110, 13 and 14).

use http::{HeaderMap, header};

/// What of a file to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// Bytes from the first on, so many.
    Some {
        first: u64,
        length: u64,
    },
    /// Asks for bytes that the file does not have.
    Unsatisfiable,
}

/// Says which part of a file of `size` bytes the client wants. Several ranges, other units and what
/// cannot be read are answered with the whole, as the standard allows.
pub(super) fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> Part {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else { return Part::Whole };
    // A part of another state of the file would not fit what the client has.
    if headers.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Part::Whole;
    }
    parse(range, size).unwrap_or(Part::Whole)
}

fn parse(range: &str, size: u64) -> Option<Part> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What is too large to be counted is too large for any file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let suffix = number(last)?.min(size);
        return Some(if suffix == 0 {
            Part::Unsatisfiable
        } else {
            Part::Some { first: size - suffix, length: suffix }
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Part::Unsatisfiable);
    }
    Some(Part::Some { first, length: last.min(size - 1) - first + 1 })
}

/// Says whether the client has this state of the file already.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.trim() == "*" || value.split(',').any(|known| known.trim().trim_start_matches("W/") == etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn one_range_is_cut_to_the_file_and_everything_odd_is_the_whole() {
        use Part::{Unsatisfiable, Whole};
        let some = |first, length| Part::Some { first, length };
        for (range, expected) in [
            ("bytes=0-0", some(0, 1)),
            ("bytes=0-9", some(0, 10)),
            ("bytes=2-5", some(2, 4)),
            ("bytes=5-", some(5, 5)),
            ("bytes=5-99999999999999999999999", some(5, 5)),
            ("bytes=-3", some(7, 3)),
            ("bytes=-300", some(0, 10)),
            ("Bytes=9-", some(9, 1)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1--2", Whole),
            ("items=0-1", Whole),
            ("0-1", Whole),
        ] {
            assert_eq!(wanted(&headers(&[(header::RANGE, range)]), "\"e\"", 10), expected, "{range}");
        }
        assert_eq!(wanted(&headers(&[(header::RANGE, "bytes=0-")]), "\"e\"", 0), Unsatisfiable);
        assert_eq!(wanted(&headers(&[]), "\"e\"", 10), Whole);
    }

    #[test]
    fn a_range_of_another_state_of_the_file_is_the_whole() {
        for (condition, expected) in [
            ("\"e\"", Part::Some { first: 1, length: 1 }),
            ("\"other\"", Part::Whole),
            ("W/\"e\"", Part::Whole),
            ("Sat, 31 Jan 2026 08:00:00 GMT", Part::Whole),
        ] {
            let headers = headers(&[(header::RANGE, "bytes=1-1"), (header::IF_RANGE, condition)]);
            assert_eq!(wanted(&headers, "\"e\"", 10), expected, "{condition}");
        }
    }

    #[test]
    fn a_client_that_has_the_file_is_recognised() {
        for (value, expected) in
            [("\"e\"", true), ("W/\"e\"", true), ("\"a\", \"e\"", true), ("*", true), ("\"f\"", false), ("e", false)]
        {
            assert_eq!(is_known(&headers(&[(header::IF_NONE_MATCH, value)]), "\"e\""), expected, "{value}");
        }
    }
}
