//! How domain values become columns and come back.

use std::str::FromStr;

use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};

use crate::domain::{dataset, id, integration, notebook, storage_provider, tensorboard, time::Timestamp, workload};

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

macro_rules! text_columns {
    ($($name:ty),+ $(,)?) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.as_str().to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                parse(value.as_str()?)
            }
        }
    )+};
}

text_columns!(
    id::TeamId,
    id::UserId,
    id::KeyId,
    id::ProjectId,
    id::JobId,
    id::NotebookId,
    id::TensorBoardId,
    id::ExperimentId,
    id::SecretId,
    id::UploadId,
    id::DatasetId,
    id::VersionId,
    id::ProviderId,
    id::ImportId,
);

macro_rules! word_columns {
    ($($name:ty),+ $(,)?) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.as_str().to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Self::from_word(value.as_str()?).ok_or(FromSqlError::InvalidType)
            }
        }
    )+};
}

word_columns!(
    workload::Wanted,
    workload::State,
    workload::Reason,
    dataset::VersionState,
    dataset::Use,
    dataset::OutputState,
    dataset::ImportState,
    storage_provider::ProviderKind,
    notebook::EndedFor,
    integration::Origin,
    tensorboard::SubjectKind,
);
text_columns!(crate::domain::caller::Scope);

fn parse<T: FromStr>(text: &str) -> FromSqlResult<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().map_err(FromSqlError::other)
}

/// A column that holds JSON.
pub(super) struct Json<T>(pub T);

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

impl<T: serde::Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text =
            serde_json::to_string(&self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(text.into())
    }
}
