//! Whether the schema is that of this version.

use migration::{Migrator, MigratorTrait, seaql_migrations};
use sea_orm::EntityTrait;

use super::Finding;
use crate::database::{self, Database};

pub(super) async fn examine(db: &Database) -> Vec<Finding> {
    let check = "schema";
    let applied = match seaql_migrations::Entity::find().all(db.connection()).await {
        Ok(applied) => applied,
        Err(error) if database::lacks_table(&error) => {
            return vec![Finding::wrong(check, "the database has no schema yet", "run `feebox migrate up`")];
        }
        Err(error) => return vec![Finding::unknown(check, &error)],
    };
    let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let pending = known.iter().filter(|name| !applied.iter().any(|row| row.version == **name)).count();
    let newer = applied.iter().filter(|row| !known.contains(&row.version)).count();
    vec![match (pending, newer) {
        (0, 0) => Finding::fine(check, format!("all {} migrations are applied", known.len())),
        (0, newer) => {
            Finding::note(check, format!("{newer} migrations of a newer version are applied: an upgrade is under way"))
        }
        (pending, _) => Finding::wrong(check, format!("{pending} migrations are pending"), "run `feebox migrate up`"),
    }]
}
