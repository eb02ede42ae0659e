//! A page of a listing in S3's XML.

use quick_xml::{SeError, se::to_string};
use serde::Serialize;

use super::objects::token;
use crate::{
    domain::user_path::UserPath,
    service::s3_listing::{Listed, ListedPage, Listing},
};

/// Without which the client finds nothing in it.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListBucketResult {
    #[serde(rename = "@xmlns")]
    namespace: &'static str,
    prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delimiter: Option<&'static str>,
    max_keys: u32,
    key_count: usize,
    is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_continuation_token: Option<String>,
    contents: Vec<Contents>,
    common_prefixes: Vec<CommonPrefix>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CommonPrefix {
    prefix: String,
}

/// Writes a page. Every key has a slash in front, as the client puts them, and so has the prefix, which
/// the client cuts off each key by its length.
///
/// # Errors
/// None that could be expected.
pub fn write(listing: &Listing, page: ListedPage) -> Result<String, SeError> {
    let mut result = ListBucketResult {
        namespace: NAMESPACE,
        prefix: key(listing.prefix.as_bytes()),
        delimiter: (!listing.recursive).then_some("/"),
        max_keys: listing.limit,
        key_count: page.items.len(),
        is_truncated: page.next.is_some(),
        next_continuation_token: page.next.as_deref().map(token),
        contents: Vec::new(),
        common_prefixes: Vec::new(),
    };
    for item in page.items {
        match item {
            Listed::File { path, bytes } => result.contents.push(Contents { key: of(&path), size: bytes }),
            Listed::Directory(path) => result.common_prefixes.push(CommonPrefix { prefix: of(&path) + "/" }),
        }
    }
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", to_string(&result)?))
}

fn of(path: &UserPath) -> String {
    key(path.as_bytes())
}

/// Returns a path as a key. What XML cannot say comes out with `U+FFFD` in it, and cannot be fetched by
/// that name.
fn key(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let said = |c: char| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c };
    std::iter::once('/').chain(text.chars().map(said)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_s3_writes_it() {
        let listing = Listing { prefix: "a & b/".to_owned(), recursive: false, after: None, limit: 2 };
        let path = |bytes: &[u8]| UserPath::from_bytes(bytes).unwrap();
        let page = ListedPage {
            items: vec![
                Listed::File { path: path("a & b/ <é> ".as_bytes()), bytes: 9 },
                Listed::File { path: path(b"a & b/\x1b\xff\n"), bytes: 0 },
                Listed::Directory(path(b"a & b/]]>")),
            ],
            next: Some(b"a & b/]]>/".to_vec()),
        };
        assert_eq!(
            write(&listing, page).unwrap().lines().nth(1).unwrap(),
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Prefix>/a &amp; b/</Prefix>\
             <Delimiter>/</Delimiter><MaxKeys>2</MaxKeys><KeyCount>3</KeyCount><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>YSAmIGIvXV0-Lw</NextContinuationToken>\
             <Contents><Key>/a &amp; b/ &lt;é&gt; </Key><Size>9</Size></Contents>\
             <Contents><Key>/a &amp; b/\u{fffd}\u{fffd}\u{fffd}</Key><Size>0</Size></Contents>\
             <CommonPrefixes><Prefix>/a &amp; b/]]&gt;/</Prefix></CommonPrefixes></ListBucketResult>"
        );
    }
}
