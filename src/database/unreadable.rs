//! Rows that are there and cannot be read: somebody else wrote them, an older version did, or the database stored something
//! else than it was given. One of them costs itself, and not the page that it is on.

use std::future::Future;

use sea_orm::{DbErr, RuntimeErr, sqlx};
use uuid::Uuid;

use crate::supervision::caught;

/// A row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed<T> {
    /// As it was read.
    Read(T),
    /// It is there, under this id, and cannot be read.
    Unreadable(Uuid),
}

impl<T> Listed<T> {
    /// What was read, if it could be.
    pub fn read(self) -> Option<T> {
        match self {
            Self::Read(row) => Some(row),
            Self::Unreadable(_) => None,
        }
    }

    /// Its id; `id` tells that of what was read.
    pub fn id(&self, id: impl FnOnce(&T) -> Uuid) -> Uuid {
        match self {
            Self::Read(row) => id(row),
            Self::Unreadable(id) => *id,
        }
    }
}

/// Whether the database answered, and what it answered cannot be read. To try again would bring the same.
fn is_unreadable(error: &DbErr) -> bool {
    match error {
        DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } | DbErr::ConvertFromU64(_) => true,
        DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Exec(RuntimeErr::SqlxError(error)) => matches!(
            error.as_ref(),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::TypeNotFound { .. }
        ),
        _ => false,
    }
}

/// What `work` reads. A value that the driver cannot hold, such as `infinity` for a time on `PostgreSQL`, makes it panic:
/// that is an unreadable row like others.
///
/// # Errors
/// Those of `work`.
async fn reading<T>(work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    caught(work).await.unwrap_or_else(|panic| Err(DbErr::Type(format!("the driver cannot hold a value: {panic}"))))
}

/// The rows that `all` reads at once. If one of them cannot be read, `ids` tells which they are, and `one` reads each by itself:
/// what cannot be read is named in its place. Rows that are gone meanwhile are left out.
///
/// # Errors
/// Any database error, but that a row cannot be read.
pub async fn read_rows<T, One>(
    all: impl Future<Output = Result<Vec<T>, DbErr>>,
    ids: impl Future<Output = Result<Vec<Uuid>, DbErr>>,
    one: impl Fn(Uuid) -> One,
) -> Result<Vec<Listed<T>>, DbErr>
where
    One: Future<Output = Result<Option<T>, DbErr>>,
{
    match reading(all).await {
        Err(error) if is_unreadable(&error) => {}
        read => return Ok(read?.into_iter().map(Listed::Read).collect()),
    }
    let ids = ids.await?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        match reading(one(id)).await {
            Err(error) if is_unreadable(&error) => {
                tracing::error!(%id, %error, "a row cannot be read and is left out");
                found.push(Listed::Unreadable(id));
            }
            read => found.extend(read?.map(Listed::Read)),
        }
    }
    Ok(found)
}
