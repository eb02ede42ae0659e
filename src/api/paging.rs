//! Lists, a page at a time: `?limit=&cursor=` in, `{"items": […], "next": "…"|null}` out.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, request::Parts};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

use super::{Problem, body};

/// Items of a page when the client does not say.
const DEFAULT: u32 = 50;
/// Most items of a page.
const MOST: u32 = 500;

/// Where the next page begins. Clients hand it back as it is; only the list that made it knows what
/// is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// Makes a cursor of what the list will need: a sequence number, a name.
    pub fn new(position: impl ToString) -> Self {
        Self(position.to_string())
    }

    /// Returns what the list put in.
    ///
    /// # Errors
    /// A 400 when it is not what this list puts in.
    pub fn position<T: FromStr>(&self) -> Result<T, Problem> {
        self.0.parse().map_err(|_| bad_cursor())
    }
}

impl FromStr for Cursor {
    type Err = Problem;
    fn from_str(text: &str) -> Result<Self, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad_cursor())?;
        String::from_utf8(bytes).map(Self).map_err(|_| bad_cursor())
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

fn bad_cursor() -> Problem {
    let detail = "the cursor is not one that this list gave: take “next” of the page before, as it is";
    Problem::new(StatusCode::BAD_REQUEST, "bad_cursor", detail).field("cursor")
}

/// A page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The `cursor` of the next page; null on the last page.
    #[schema(value_type = Option<String>)]
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Makes a page of `items`, of which there is one more than `limit` if there is a next page.
    /// `position` tells where an item stands; the next page begins after the last that is kept.
    pub fn cut<P: ToString>(mut items: Vec<T>, limit: u32, position: impl Fn(&T) -> P) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| Cursor::new(position(last)));
        Self { items, next }
    }

    /// Makes the same page of what `f` makes of its items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

/// The query of every list, as the API's document shows it.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; Paged reads it")]
pub struct PageQuery {
    /// Most items of the page, 1 to 500. Default 50.
    limit: Option<u32>,
    /// `next` of the page before, as it is.
    cursor: Option<String>,
}

/// Returns the text of a filter, unless it was left out or empty.
pub fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The query of a list: which page, and the filters `F`. A parameter that is neither is refused.
#[derive(Debug, Clone)]
pub struct Paged<F = NoFilter> {
    pub filter: F,
    /// 1 to 500.
    pub limit: u32,
    pub cursor: Option<Cursor>,
}

/// The filters of a list that has none.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFilter {}

impl<F> Paged<F> {
    /// Returns the sequence number that the page comes before, in lists that are ordered by one.
    ///
    /// # Errors
    /// A 400 when the cursor is none of such a list.
    pub fn before(&self) -> Result<Option<i64>, Problem> {
        self.cursor.as_ref().map(Cursor::position).transpose()
    }
}

impl<F: DeserializeOwned, S: Sync> FromRequestParts<S> for Paged<F> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = body::query(parts.uri.query().unwrap_or_default())?;
        let (own, rest): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| matches!(name.as_str(), "limit" | "cursor"));
        // Filters are refused by serde when they come twice; which one counts is nobody's guess here either.
        if let Some(at) = (1..own.len()).find(|at| own[..*at].iter().any(|(name, _)| *name == own[*at].0)) {
            let name = &own[at].0;
            return Err(Problem::invalid("invalid_query", name, format!("{name} is there twice")));
        }
        let mut paged = Self { filter: body::query_pairs(&rest)?, limit: DEFAULT, cursor: None };
        for (name, value) in own {
            match name.as_str() {
                "limit" => paged.limit = limit(&value)?,
                _ if value.is_empty() => {}
                _ => paged.cursor = Some(value.parse()?),
            }
        }
        Ok(paged)
    }
}

fn limit(text: &str) -> Result<u32, Problem> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST).contains(limit))
        .ok_or_else(|| Problem::invalid("invalid_query", "limit", format!("limit must be a number from 1 to {MOST}")))
}

/// Reads `a,b,c` into a list, for `#[serde(deserialize_with = "comma_list", default)]`. Empty parts
/// are left out.
pub fn comma_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_err(serde::de::Error::custom))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        #[serde(default, deserialize_with = "comma_list")]
        state: Vec<u8>,
        project: Option<String>,
    }

    async fn read(query: &str) -> Result<Paged<Filter>, (u16, &'static str)> {
        let request = http::Request::builder().uri(format!("/x?{query}")).body(()).unwrap();
        Paged::from_request_parts(&mut request.into_parts().0, &())
            .await
            .map_err(|problem: Problem| (problem.status().as_u16(), problem.code()))
    }

    #[tokio::test]
    async fn a_list_has_a_page_and_filters() {
        let paged = read("").await.unwrap();
        assert_eq!((paged.limit, paged.cursor), (50, None));
        let paged = read("limit=500&state=1,2&project=a%26b").await.unwrap();
        assert_eq!((paged.limit, paged.filter.state, paged.filter.project.as_deref()), (500, vec![1, 2], Some("a&b")));
    }

    #[tokio::test]
    async fn wrong_pages_and_unknown_filters_are_refused() {
        for query in ["limit=0", "limit=501", "limit=-1", "limit=x", "stat=1", "state=300"] {
            assert_eq!(read(query).await.unwrap_err().0, 422, "{query}");
        }
        for query in ["cursor=%00", "cursor=a%20b", "cursor=_w"] {
            assert_eq!(read(query).await.unwrap_err(), (400, "bad_cursor"), "{query}");
        }
        assert!(Cursor::new("abc").position::<i64>().is_err());
    }

    #[tokio::test]
    async fn following_next_reaches_every_item_once() {
        let all: Vec<i64> = (0..7).rev().collect();
        let (mut seen, mut query) = (Vec::new(), "limit=3".to_owned());
        loop {
            let paged = read(&query).await.unwrap();
            let before = paged.cursor.map_or(Ok(i64::MAX), |cursor| cursor.position()).unwrap();
            let rows = all.iter().copied().filter(|seq| *seq < before).take(paged.limit as usize + 1).collect();
            let page = serde_json::to_value(Page::cut(rows, paged.limit, |seq: &i64| *seq)).unwrap();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item.as_i64().unwrap()));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("limit=3&cursor={next}");
        }
        assert_eq!(seen, all);
    }
}
