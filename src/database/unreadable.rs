//! Rows that are stored but cannot be read: another program or version wrote them, or the database changed a value. A list
//! reports such a row and shows all others.

use std::future::Future;

use sea_orm::{DbErr, RuntimeErr, sqlx};
use uuid::Uuid;

use crate::supervision::caught;

/// A row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed<T> {
    /// The row.
    Read(T),
    /// The id of a row that cannot be read.
    Unreadable(Uuid),
}

impl<T> Listed<T> {
    /// The row, if it could be read.
    pub fn read(self) -> Option<T> {
        match self {
            Self::Read(row) => Some(row),
            Self::Unreadable(_) => None,
        }
    }

    /// The row's id; `id` returns that of a row that was read.
    pub fn id(&self, id: impl FnOnce(&T) -> Uuid) -> Uuid {
        match self {
            Self::Read(row) => id(row),
            Self::Unreadable(id) => *id,
        }
    }
}

/// Whether the database returned a row that cannot be read. A retry would fail too.
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

/// Runs a read. The driver panics at values that it cannot represent, such as the time `infinity` on PostgreSQL; that
/// becomes the error of an unreadable row.
///
/// # Errors
/// Those of `work`.
pub async fn reading<T>(work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    caught(work).await.unwrap_or_else(|panic| Err(DbErr::Type(format!("the driver cannot represent a value: {panic}"))))
}

/// The rows that `all` reads in one statement. If one of them is unreadable, each row of `ids` is read by itself with `one`,
/// and an unreadable row is listed by its id. Rows that no longer exist are left out.
///
/// # Errors
/// Any database error, unless a row is unreadable.
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
                tracing::error!(%id, %error, "skipped an unreadable row");
                found.push(Listed::Unreadable(id));
            }
            read => found.extend(read?.map(Listed::Read)),
        }
    }
    Ok(found)
}
