//! Which quotes are checked together.

use entity::{
    fee_record::{Column as FeeColumn, Entity as Fee},
    outbox_event::{Column as EventColumn, Entity as Event},
    quote::{Column as QuoteColumn, Entity as Quote},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    sea_query::{
        SelectStatement,
        extension::mysql::{IndexHintScope, MySqlSelectStatementExt},
    },
};
use uuid::Uuid;

use crate::database::padded;

/// Some quotes with all that is theirs. There may be events and fee records of a quote that does not exist: they belong to its
/// place in the order of ids.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Those whose ids follow one another.
    Between {
        /// After this id.
        after: Uuid,
        /// Up to this id, or to the last one.
        through: Option<Uuid>,
    },
    /// Those with these ids.
    These(Vec<Uuid>),
}

impl Scope {
    /// The quotes after id `after` and up to `last`, as many as have at most `rows` quotes, twice as many fee records and four
    /// times as many events, but at least one.
    pub(super) async fn following(
        db: &impl ConnectionTrait,
        after: Uuid,
        rows: u64,
        last: Option<Uuid>,
    ) -> Result<Self, DbErr> {
        let mut through = last;
        for end in ends(after, rows) {
            let end = db.query_one(&end).await?.map(|row| row.try_get_by_index(0)).transpose()?;
            through = [through, end].into_iter().flatten().min();
        }
        Ok(Self::Between { after, through })
    }

    /// The last id, if more may follow.
    pub(super) fn through(&self) -> Option<Uuid> {
        match self {
            Self::Between { through, .. } => *through,
            Self::These(_) => None,
        }
    }

    /// Those whose quote's id, in `column`, is in scope.
    pub(super) fn condition(&self, column: impl ColumnTrait) -> Condition {
        match self {
            Self::Between { after, through } => {
                let end = through.map(|through| column.lte(through));
                Condition::all().add(column.gt(*after)).add_option(end)
            }
            Self::These(ids) => Condition::all().add(column.is_in(padded(ids.iter().copied()))),
        }
    }
}

/// The queries for the last quote ids of full slices.
pub(super) fn ends(after: Uuid, rows: u64) -> [SelectStatement; 3] {
    [
        end::<Quote>(QuoteColumn::Id, after, rows),
        end::<Event>(EventColumn::AggregateId, after, 4 * rows)
            .force_index("outbox_event_order", IndexHintScope::All)
            .take(),
        end::<Fee>(FeeColumn::QuoteId, after, 2 * rows),
    ]
}

fn end<E: EntityTrait>(quote_id: E::Column, after: Uuid, rows: u64) -> SelectStatement {
    E::find()
        .select_only()
        .column(quote_id)
        .filter(quote_id.gt(after))
        .order_by_asc(quote_id)
        .limit(1)
        .offset(rows.saturating_sub(1))
        .into_query()
}
