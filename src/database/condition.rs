//! Conditions on a status, written so that no planner can take them for another question.

use sea_orm::{
    ActiveEnum,
    sea_query::{Expr, ExprTrait, Func, IntoColumnRef},
};

/// The status of a row that a key has found is one of `statuses`.
///
/// A plain `status = 'pending'` beside a key also matches each index that holds pending rows only. By statistics from before
/// a backlog grew, a planner takes that index for the smaller one and reads the whole backlog for each row. `NULLIF(status,
/// '')` is the status too, but no index stands for it. Where an index over a status is what should be read, the plain
/// condition is the right one.
pub fn found_status<S: ActiveEnum<Value = String>>(
    column: impl IntoColumnRef,
    statuses: impl IntoIterator<Item = S>,
) -> Expr {
    let status = Func::cust("NULLIF").args([Expr::col(column), Expr::cust("''")]);
    Expr::expr(status).is_in(statuses.into_iter().map(|status| status.to_value()))
}
