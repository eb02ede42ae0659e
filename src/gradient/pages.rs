//! Lists as the client wants them: whole, or from any row on. The services have them by cursor.

use std::ops::Range;

use super::filter::Filter;
use crate::{api::Problem, service::ServiceError};

/// Rows that are read at a time. Where a row costs more than its reading, fewer.
pub const PAGE: u32 = 500;

/// Returns all rows of a list. `read` gets where the page before ended, which `position` says of its last
/// row.
pub async fn all<Row, Cursor, Reading>(
    mut read: impl FnMut(Option<Cursor>) -> Reading,
    position: impl Fn(&Row) -> Cursor,
) -> Result<Vec<Row>, Problem>
where
    Reading: Future<Output = Result<Vec<Row>, ServiceError>>,
{
    within(0..usize::MAX, |after, _| read(after), position, |_| true).await
}

/// Returns the part that `filter` asks for of the rows that are `wanted`. `read` also gets how many of
/// those are missing yet.
pub async fn some<Row, Cursor, Reading>(
    filter: &Filter,
    read: impl FnMut(Option<Cursor>, usize) -> Reading,
    position: impl Fn(&Row) -> Cursor,
    wanted: impl Fn(&Row) -> bool,
) -> Result<Vec<Row>, Problem>
where
    Reading: Future<Output = Result<Vec<Row>, ServiceError>>,
{
    within(filter.skip..filter.end(), read, position, wanted).await
}

/// Keeps only the rows in `range`: one that is passed over may be large.
async fn within<Row, Cursor, Reading>(
    range: Range<usize>,
    mut read: impl FnMut(Option<Cursor>, usize) -> Reading,
    position: impl Fn(&Row) -> Cursor,
    wanted: impl Fn(&Row) -> bool,
) -> Result<Vec<Row>, Problem>
where
    Reading: Future<Output = Result<Vec<Row>, ServiceError>>,
{
    let mut found = Vec::new();
    let (mut place, mut after) = (0, None);
    loop {
        let page = read(after, range.end.saturating_sub(place)).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(position(last));
        for row in page.into_iter().filter(&wanted) {
            if range.contains(&place) {
                found.push(row);
            }
            place += 1;
        }
        if place >= range.end {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// The numbers from 0 to 9, three at a time.
    fn read(after: Option<u32>) -> std::future::Ready<Result<Vec<u32>, ServiceError>> {
        let from = after.map_or(0, |after| after + 1);
        ready(Ok((from..10).take(3).collect()))
    }

    #[tokio::test]
    async fn every_row_is_read_once() {
        assert_eq!(all(read, |row| *row).await.unwrap(), (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_skipped_and_counted_are_rows_that_are_wanted() {
        let filter = Filter::read("limit=2&offset=1").unwrap();
        let mut missing = Vec::new();
        let asked = |after, left| {
            missing.push(left);
            read(after)
        };
        let found = some(&filter, asked, |row| *row, |row| row % 2 == 1).await.unwrap();
        assert_eq!(found, [3, 5]);
        // 1, then 3 and 5: the rest of the list is left alone.
        assert_eq!(missing, [3, 2]);
    }
}
