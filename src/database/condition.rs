//! Conditions on a status that a query planner cannot use to choose another index.

use sea_orm::{
    ActiveEnum,
    sea_query::{Expr, ExprTrait, Func, IntoColumnRef},
};

/// The status of a row that is found by a key is one of `statuses`.
///
/// A plain `status = 'pending'` besides a key also matches every index of pending rows. With statistics from before a backlog
/// grew, the planner believes that such an index is smaller, and reads the whole backlog for each row. `NULLIF(status, '')`
/// has the same value, but no index matches it. Use the plain condition where the index over the status is wanted.
pub fn found_status<S: ActiveEnum<Value = String>>(
    column: impl IntoColumnRef,
    statuses: impl IntoIterator<Item = S>,
) -> Expr {
    let status = Func::cust("NULLIF").args([Expr::col(column), Expr::cust("''")]);
    Expr::expr(status).is_in(statuses.into_iter().map(|status| status.to_value()))
}
