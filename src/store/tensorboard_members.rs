//! What TensorBoards show.

use rusqlite::{Connection, Row, params};

use super::{StoreError, Tx};
use crate::domain::{
    tensorboard::{Member, Subject, SubjectKind},
    user_path::UserPath,
};

fn member(row: &Row<'_>) -> rusqlite::Result<Member> {
    let subject = match row.get(1)? {
        SubjectKind::Job => Subject::Job(row.get(2)?),
        SubjectKind::Experiment => Subject::Experiment(row.get(2)?),
        SubjectKind::Notebook => Subject::Notebook { id: row.get(2)?, path: path(row, 3)? },
        SubjectKind::Dataset => Subject::Dataset { id: row.get(2)?, version: row.get(4)?, reference: row.get(5)? },
    };
    Ok(Member { name: row.get(0)?, subject, added_at: row.get(6)? })
}

fn path(row: &Row<'_>, at: usize) -> rusqlite::Result<UserPath> {
    let text: String = row.get(at)?;
    UserPath::from_bytes(text.as_bytes()).map_err(|error| rusqlite::types::FromSqlError::other(error).into())
}

/// Returns the members of TensorBoard `seq`, in the order in which they were added.
pub fn of(connection: &Connection, seq: i64) -> Result<Vec<Member>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT name, kind, target, path, version, reference, added_at FROM tensorboard_members
         WHERE tensorboard = ?1 ORDER BY seq",
    )?;
    let rows = query.query_map([seq], member)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a member to TensorBoard `seq`, which has none of that name.
pub fn insert(tx: &Tx<'_>, seq: i64, member: &Member) -> Result<(), StoreError> {
    let (mut at, mut chosen, mut asked) = (None, None, None);
    match &member.subject {
        Subject::Job(_) | Subject::Experiment(_) => {}
        Subject::Notebook { path, .. } => at = Some(String::from_utf8_lossy(path.as_bytes()).into_owned()),
        Subject::Dataset { version, reference, .. } => (chosen, asked) = (Some(version), Some(reference)),
    }
    tx.prepare_cached(
        "INSERT INTO tensorboard_members (tensorboard, name, kind, target, path, version, reference, added_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        seq,
        member.name,
        member.subject.kind(),
        member.subject.id(),
        at,
        chosen,
        asked,
        member.added_at,
    ])?;
    Ok(())
}

/// Takes a member away from TensorBoard `seq`.
pub fn delete(tx: &Tx<'_>, seq: i64, name: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM tensorboard_members WHERE tensorboard = ?1 AND name = ?2", params![seq, name])?;
    Ok(())
}
