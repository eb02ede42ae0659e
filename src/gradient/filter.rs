//! The client's ways to say which part of a list it wants: `filter[limit]=21&filter[skip]=0`, a JSON
//! text in `filter`, plain `limit` and `offset`; and tags as `tagFilter=a` or `tagFilter[0]=a`.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use http::{StatusCode, request::Parts};
use serde_json::Value;

use crate::api::Problem;

/// Most rows of one answer.
const MOST: usize = 1_000;

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    pub(super) skip: usize,
    /// `None` for all, as when nobody says.
    limit: Option<usize>,
    /// What rows must have, by field; in a JSON filter also what is nested.
    wanted: BTreeMap<String, String>,
    /// Tags, of which a row has at least one.
    tags: Vec<String>,
}

impl Filter {
    /// Reads the part of a URL after `?`.
    pub fn read(query: &str) -> Result<Self, Problem> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "filter" => filter.take_json(&value)?,
                "limit" | "filter[limit]" => filter.limit = limit(&value)?,
                "offset" | "filter[skip]" | "filter[offset]" => filter.skip = number("offset", &value)?,
                "tag" | "tagFilter" => filter.tags.push(value.into_owned()),
                name if name.starts_with("tagFilter[") => filter.tags.push(value.into_owned()),
                name => {
                    let field = name.strip_prefix("filter[where][").and_then(|rest| rest.strip_suffix(']'));
                    if let Some(field) = field {
                        filter.wanted.insert(field.to_owned(), value.into_owned());
                    }
                }
            }
        }
        Ok(filter)
    }

    fn take_json(&mut self, text: &str) -> Result<(), Problem> {
        let read: Value = serde_json::from_str(text).map_err(|error| bad(format!("filter is not JSON: {error}")))?;
        // Some commands wrap it once more.
        let read = read.get("filter").unwrap_or(&read);
        if let Some(wanted) = read.get("limit").filter(|value| !value.is_null()) {
            self.limit = limit(&wanted.to_string())?;
        }
        if let Some(skip) = read.get("offset").or_else(|| read.get("skip")).filter(|value| !value.is_null()) {
            self.skip = number("offset", &skip.to_string())?;
        }
        for (field, value) in read.get("where").and_then(Value::as_object).into_iter().flatten() {
            match value {
                Value::Null => {}
                Value::String(text) => drop(self.wanted.insert(field.clone(), text.clone())),
                other => drop(self.wanted.insert(field.clone(), other.to_string())),
            }
        }
        Ok(())
    }

    /// Returns the value that rows must have in a field, if one is asked for.
    pub fn wants(&self, field: &str) -> Option<&str> {
        self.wanted.get(field).map(String::as_str)
    }

    /// Says whether something with these tags is wanted.
    pub fn wants_tags(&self, tags: &[String]) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|tag| tags.contains(tag))
    }

    /// Returns the tags of which something that is wanted has at least one; none when any will do.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Returns how many rows are read at most, from the beginning of the list.
    pub fn end(&self) -> usize {
        self.skip.saturating_add(self.limit.unwrap_or(MOST))
    }

    /// Cuts the wanted part out of a whole list.
    pub fn cut<T>(&self, rows: Vec<T>) -> Vec<T> {
        rows.into_iter().skip(self.skip).take(self.limit.unwrap_or(MOST)).collect()
    }
}

/// `-1` is the client's word for all.
fn limit(text: &str) -> Result<Option<usize>, Problem> {
    if text == "-1" {
        return Ok(None);
    }
    Ok(Some(number("limit", text)?.clamp(1, MOST)))
}

fn number(name: &str, text: &str) -> Result<usize, Problem> {
    // No list is longer; what is added to it must not overflow.
    text.parse::<u32>()
        .map(|number| number as usize)
        .map_err(|_| bad(format!("{name} is a whole number, not “{text}”")))
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_filter", detail)
}

impl<S: Sync> FromRequestParts<S> for Filter {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(parts.uri.query().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_page_is_read() {
        let bracketed = Filter::read("filter[limit]=21&filter[skip]=20&filter[order][]=name+ASC").unwrap();
        let json = Filter::read("filter=%7B%22limit%22%3A21%2C%22offset%22%3A20%7D").unwrap();
        let wrapped = Filter::read("filter=%7B%22filter%22%3A%7B%22limit%22%3A21%2C%22offset%22%3A20%7D%7D").unwrap();
        let plain = Filter::read("limit=21&offset=20").unwrap();
        assert_eq!((bracketed.skip, bracketed.limit), (20, Some(21)));
        for other in [json, wrapped, plain] {
            assert_eq!(other, bracketed);
        }
        assert_eq!(bracketed.cut((0..100).collect()), (20..41).collect::<Vec<_>>());
        assert_eq!(Filter::read("limit=-1").unwrap().cut((0..100).collect::<Vec<_>>()).len(), 100);
    }

    #[test]
    fn what_rows_must_have_is_read_from_both_spellings() {
        let bracketed = Filter::read("filter[where][isCommitted]=true").unwrap();
        assert_eq!(bracketed.wants("isCommitted"), Some("true"));
        let json = Filter::read("filter=%7B%22where%22%3A%7B%22handle%22%3A%22p1%22%2C%22dtDeleted%22%3Anull%7D%7D");
        let json = json.unwrap();
        assert_eq!((json.wants("handle"), json.wants("dtDeleted")), (Some("p1"), None));
    }

    #[test]
    fn one_tag_of_several_is_enough() {
        let filter = Filter::read("tagFilter=a&tagFilter[1]=b").unwrap();
        assert!(filter.wants_tags(&["b".to_owned()]) && !filter.wants_tags(&["c".to_owned()]));
        assert!(Filter::default().wants_tags(&[]));
    }

    #[test]
    fn nonsense_is_refused_with_its_name() {
        for query in [
            "filter[limit]=x",
            "filter[skip]=-3",
            "offset=99999999999999999999",
            "filter=%7B",
            "filter=%7B%22limit%22%3A%7B%7D%7D",
            "limit=1e9",
        ] {
            assert_eq!(Filter::read(query).unwrap_err().status(), StatusCode::BAD_REQUEST, "{query}");
        }
        // What is no filter at all asks for nothing.
        assert_eq!(Filter::read("filter=[]&filter=5&x=y").unwrap(), Filter::default());
    }
}
