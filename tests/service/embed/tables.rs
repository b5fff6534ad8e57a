//! The tables of the outbox in a database that belongs to another service.

use feebox::embed::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use crate::support::{Engine, TestDatabase, on_engines};

on_engines!(
    they_are_those_of_feebox,
    they_come_and_go_beside_those_of_the_service,
    a_table_of_another_kind_by_one_of_their_names_is_refused,
);

const TABLES: &str = "('outbox_event', 'destination', 'circuit_opening', 'prune_mark')";

/// A change of the service's own history that forgets these, or the other way round, shows here.
async fn they_are_those_of_feebox(engine: Engine) {
    let (of_feebox, own) = (TestDatabase::migrated(engine).await, TestDatabase::create(engine).await);
    let own = own.connect().await;
    Migrator::up(&own, None).await.unwrap();
    let (of_feebox, own) = (schema(&of_feebox.connect().await).await, schema(&own).await);
    let missing: Vec<_> = of_feebox.iter().filter(|line| !own.contains(line)).collect();
    let more: Vec<_> = own.iter().filter(|line| !of_feebox.contains(line)).collect();
    assert!(missing.is_empty() && more.is_empty(), "only Feebox: {missing:#?}, only embedded: {more:#?}");
    assert!(own.iter().any(|line| line.contains("outbox_event_turn")), "{own:#?}");
}

async fn they_come_and_go_beside_those_of_the_service(engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let connection = database.connect().await;
    // SeaORM's table of migrations, with one of the service's own in it.
    let own = "CREATE TABLE seaql_migrations (version varchar(255) PRIMARY KEY, applied_at bigint NOT NULL)";
    connection.execute_unprepared(own).await.unwrap();
    connection.execute_unprepared("INSERT INTO seaql_migrations VALUES ('m1_orders', 1)").await.unwrap();
    connection.execute_unprepared("CREATE TABLE orders (id int PRIMARY KEY)").await.unwrap();

    Migrator::up(&connection, None).await.unwrap();
    let made = schema(&connection).await;
    Migrator::up(&connection, None).await.unwrap();
    assert_eq!(schema(&connection).await, made);
    Migrator::down(&connection, None).await.unwrap();
    assert_eq!(schema(&connection).await, [] as [&str; 0]);
    Migrator::up(&connection, None).await.unwrap();
    assert_eq!(schema(&connection).await, made);

    assert_eq!(texts(&connection, "SELECT version FROM seaql_migrations").await, ["m1_orders"]);
    connection.execute_unprepared("INSERT INTO orders VALUES (1)").await.unwrap();
}

async fn a_table_of_another_kind_by_one_of_their_names_is_refused(engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let connection = database.connect().await;
    connection.execute_unprepared("CREATE TABLE destination (city varchar(64))").await.unwrap();
    let refused = Migrator::up(&connection, None).await.unwrap_err().to_string();
    assert!(refused.contains("a table destination that is not the outbox's"), "{refused}");
    let left = schema(&connection).await;
    assert!(left.iter().all(|line| line.starts_with("destination.city")), "nothing was made: {left:#?}");
}

/// Columns and indexes of the outbox's tables, each in one line.
async fn schema(connection: &DatabaseConnection) -> Vec<String> {
    let [columns, indexes] = match connection.get_database_backend() {
        DbBackend::Sqlite => [
            format!(
                "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk \
                 FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name IN {TABLES}"
            ),
            format!("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN {TABLES}"),
        ],
        DbBackend::Postgres => [
            format!(
                "SELECT concat_ws(' ', table_name || '.' || column_name, udt_name, character_maximum_length, is_nullable, \
                 collation_name, column_default, (SELECT reloptions FROM pg_class WHERE relname = table_name)) \
                 FROM information_schema.columns WHERE table_schema = 'public' AND table_name IN {TABLES}"
            ),
            format!("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename IN {TABLES}"),
        ],
        _ => [
            format!(
                "SELECT CONCAT_WS(' ', CONCAT(table_name, '.', column_name), column_type, is_nullable, collation_name, \
                 column_default) FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name IN {TABLES}"
            ),
            format!(
                "SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name, non_unique) \
                 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name IN {TABLES}"
            ),
        ],
    };
    let mut schema = [texts(connection, &columns).await, texts(connection, &indexes).await].concat();
    schema.sort();
    schema
}

async fn texts(connection: &DatabaseConnection, sql: &str) -> Vec<String> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}
