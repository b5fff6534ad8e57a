//! The schema's history, and whether the entities tell of the schema that it leads to.

use entity::{
    audit_progress, audit_run, audit_violation, bulk, bulk_piece, cause_count, circuit_opening, destination,
    fee_record, idempotency_key, operator_action, outbox_event, process, prune_mark, quote, schedule, series,
};
use feebox::quotes::{self, Line, NewQuote, QuoteFilter};
use feebox::submission::ClientKey;
use migration::{Migrator, MigratorTrait};
use sea_orm::sea_query::{ColumnType, StringLen};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn, Statement,
    TransactionTrait,
};
use uuid::Uuid;

use crate::support::{Engine, LIMIT, Process, Server, TestDatabase, TestOutbox, eventually, on_each_engine};

on_each_engine!(
    migrations_go_up_and_down_and_up_again_to_the_same_schema,
    migrating_twice_changes_nothing,
    each_entity_has_the_columns_of_its_table_and_no_others,
    texts_that_differ_by_a_trailing_space_are_distinct,
    texts_that_differ_by_a_trailing_space_are_distinct_after_an_upgrade,
);
on_each_engine!(mariadb_text, MariaDb: trailing_spaces_are_compared);
on_each_engine!(mariadb_failed, MariaDb: a_migration_that_failed_before_it_was_recorded_is_run_again);

/// The migration that has `MariaDB` compare text to the last blank.
const EXACT_TEXT: &str = "m20261126_000011_exact_text";

/// One that changes tables which exist before.
const OWNERS: &str = "m20261126_000018_submitted_by";

async fn migrations_go_up_and_down_and_up_again_to_the_same_schema(outbox: TestOutbox) {
    let before = schema(&outbox).await;
    assert!(before.iter().any(|line| line.contains("outbox_event_claim")), "{before:#?}");
    outbox.submit(3).await;

    Migrator::down(outbox.db.connection(), None).await.unwrap();
    let left: Vec<_> =
        columns(&outbox).await.into_iter().filter(|line| !line.starts_with("seaql_migrations.")).collect();
    assert!(left.is_empty(), "{left:#?}");

    Migrator::up(outbox.db.connection(), None).await.unwrap();
    assert_eq!(schema(&outbox).await, before);
    outbox.submit(3).await;
}

/// `MariaDB` commits each statement by itself: after a failure the statements before it are done, and the migration is not recorded.
async fn a_migration_that_failed_before_it_was_recorded_is_run_again(outbox: TestOutbox) {
    let (connection, before) = (outbox.db.connection(), schema(&outbox).await);
    Migrator::down(connection, None).await.unwrap();
    for migration in Migrator::migrations() {
        Migrator::up(connection, Some(1)).await.unwrap();
        let forget = format!("DELETE FROM seaql_migrations WHERE version = '{}'", migration.name());
        connection.execute_unprepared(&forget).await.unwrap();
        Migrator::up(connection, Some(1)).await.unwrap_or_else(|error| panic!("{}: {error}", migration.name()));
    }
    assert_eq!(schema(&outbox).await, before);
}

async fn migrating_twice_changes_nothing(outbox: TestOutbox) {
    outbox.submit(3).await;
    let before = (schema(&outbox).await, outbox.events().await);
    Migrator::up(outbox.db.connection(), None).await.unwrap();
    assert_eq!((schema(&outbox).await, outbox.events().await), before);
}

async fn each_entity_has_the_columns_of_its_table_and_no_others(outbox: TestOutbox) {
    let backend = outbox.db.connection().get_database_backend();
    let mut told = [
        columns_told_by(audit_progress::Entity, backend),
        columns_told_by(audit_run::Entity, backend),
        columns_told_by(audit_violation::Entity, backend),
        columns_told_by(bulk::Entity, backend),
        columns_told_by(bulk_piece::Entity, backend),
        columns_told_by(cause_count::Entity, backend),
        columns_told_by(circuit_opening::Entity, backend),
        columns_told_by(destination::Entity, backend),
        columns_told_by(fee_record::Entity, backend),
        columns_told_by(idempotency_key::Entity, backend),
        columns_told_by(operator_action::Entity, backend),
        columns_told_by(outbox_event::Entity, backend),
        columns_told_by(process::Entity, backend),
        columns_told_by(prune_mark::Entity, backend),
        columns_told_by(quote::Entity, backend),
        columns_told_by(schedule::Entity, backend),
        columns_told_by(series::Entity, backend),
    ]
    .concat();
    told.sort();
    let mut real = columns(&outbox).await;
    real.retain(|line| !line.starts_with("seaql_migrations."));
    real.sort();
    let missing: Vec<_> = told.iter().filter(|line| !real.contains(line)).collect();
    let untold: Vec<_> = real.iter().filter(|line| !told.contains(line)).collect();
    assert!(missing.is_empty() && untold.is_empty(), "only the entities: {missing:#?}, only the schema: {untold:#?}");
}

async fn texts_that_differ_by_a_trailing_space_are_distinct(outbox: TestOutbox) {
    let line = Line::parse("a thing", 2, 1_250).unwrap();
    let mut ids = vec![];
    for name in ["ada", "ada ", "ada  "] {
        let quote = NewQuote::parse(name, "EUR", vec![line.clone()]).unwrap();
        let key = ClientKey { scope: name.into(), key: "key".into() };
        let receipt = outbox.submission.submit(&[quote], Some(&key), None).await.unwrap();
        assert!(!receipt.replayed, "{name:?}");
        ids.push(receipt.quotes[0].id);
    }
    for (name, id) in ["ada", "ada ", "ada  "].into_iter().zip(ids) {
        assert_eq!(quotes_of(&outbox, name).await, [id], "{name:?}");
    }
}

async fn texts_that_differ_by_a_trailing_space_are_distinct_after_an_upgrade(outbox: TestOutbox) {
    let connection = outbox.db.connection();
    let mariadb = connection.get_database_backend() == DbBackend::MySql;
    let names: Vec<_> = Migrator::migrations().iter().map(|it| it.name().to_owned()).collect();
    let later = names.len() - names.iter().position(|name| name == EXACT_TEXT).unwrap();
    let later = Some(u32::try_from(later).unwrap());
    Migrator::down(connection, later).await.unwrap();
    let (ada, padded) = (Uuid::from_u128(1), Uuid::from_u128(2));
    store(&outbox, padded, "ada ").await.unwrap();
    // The purpose of the migration.
    assert_eq!(store(&outbox, Uuid::from_u128(3), "ada").await.is_err(), mariadb);

    Migrator::up(connection, None).await.unwrap();
    assert_eq!(quotes_of(&outbox, "ada ").await, [padded]);
    if mariadb {
        assert_eq!(quotes_of(&outbox, "ada").await, [] as [Uuid; 0]);
        store(&outbox, ada, "ada").await.unwrap();
        assert_eq!(quotes_of(&outbox, "ada").await, [ada]);
    }
    // Two keys that differ by a trailing space must both survive.
    assert_eq!(Migrator::down(connection, later).await.is_err(), mariadb);
}

/// A quote of `name` and the key that it came with, as older versions stored them.
async fn store(outbox: &TestOutbox, id: Uuid, name: &str) -> Result<(), DbErr> {
    let backend = outbox.db.connection().get_database_backend();
    let (id, at) = match backend {
        DbBackend::Postgres => (format!("'{id}'"), "2026-01-01 00:00:00+00"),
        DbBackend::MySql => (format!("x'{}'", id.simple()), "2026-01-01 00:00:00"),
        _ => (format!("x'{}'", id.simple()), "2026-01-01T00:00:00+00:00"),
    };
    let (lines, key) = if backend == DbBackend::MySql { ("`lines`", "`key`") } else { ("lines", "key") };
    let key = format!(
        "INSERT INTO idempotency_key (scope, {key}, request_sha256, quote_ids, created_at) \
         VALUES ('{name}', 'key', '', '[]', '{at}')"
    );
    outbox.db.connection().execute_unprepared(&key).await?;
    let quote = format!(
        "INSERT INTO quote (id, customer_id, currency, amount_minor, {lines}, status, submitted_at, updated_at) \
         VALUES ({id}, '{name}', 'EUR', 1, '[]', 'pending', '{at}', '{at}')"
    );
    outbox.db.connection().execute_unprepared(&quote).await.map(drop)
}

async fn quotes_of(outbox: &TestOutbox, customer: &str) -> Vec<Uuid> {
    let filter = QuoteFilter { customer_id: Some(customer.into()), ..QuoteFilter::default() };
    let found = quotes::list(outbox.db.connection(), &filter, 10).await.unwrap().rows;
    found.into_iter().map(|found| found.id(|found| found.quote.id)).collect()
}

/// Texts of two collations cannot be compared with each other: a table that a later migration creates keeps to it, too. What
/// holds JSON is compared by nobody.
async fn trailing_spaces_are_compared(outbox: TestOutbox) {
    let others = "SELECT CONCAT(table_name, '.', column_name, ' ', collation_name) FROM information_schema.columns \
                  WHERE table_schema = DATABASE() AND table_name <> 'seaql_migrations' \
                  AND collation_name <> 'utf8mb4_nopad_bin' AND column_type <> 'longtext'";
    assert_eq!(outbox.texts(others).await, [] as [&str; 0]);
}

/// Each column in one line, as [`columns`] tells those of the database.
fn columns_told_by<E: EntityTrait>(entity: E, backend: DbBackend) -> Vec<String> {
    let keys: Vec<_> = E::PrimaryKey::iter().map(|key| key.into_column().as_str().to_owned()).collect();
    let columns = E::Column::iter().map(|column| {
        let (name, def) = (column.as_str(), column.def());
        let key = keys.iter().position(|key| key == name).map(|place| format!(" key {}", place + 1));
        let null = if def.is_null() { " null" } else { "" };
        let column_type = spelled(def.get_column_type(), backend);
        format!("{}.{name} {column_type}{null}{}", entity.table_name(), key.unwrap_or_default())
    });
    columns.collect()
}

/// A type of an entity's column as the database spells it.
fn spelled(column_type: &ColumnType, backend: DbBackend) -> String {
    let [sqlite, postgres, mariadb] = match column_type {
        ColumnType::String(StringLen::N(length)) => return format!("varchar({length})"),
        ColumnType::Text => ["TEXT", "text", "text"],
        ColumnType::Uuid => ["uuid_text", "uuid", "binary(16)"],
        ColumnType::Integer => ["INTEGER", "int4", "int(11)"],
        ColumnType::BigInteger => ["INTEGER", "int8", "bigint(20)"],
        ColumnType::TimestampWithTimeZone => ["timestamp_with_timezone_text", "timestamptz", "datetime(6)"],
        ColumnType::Boolean => ["boolean", "bool", "tinyint(1)"],
        ColumnType::JsonBinary => ["jsonb_text", "jsonb", "longtext"],
        other => panic!("no column is known to have the type {other:?}"),
    };
    let spelled = match backend {
        DbBackend::Sqlite => sqlite,
        DbBackend::Postgres => postgres,
        _ => mariadb,
    };
    spelled.into()
}

/// Columns and indexes, each in one line.
async fn schema(outbox: &TestOutbox) -> Vec<String> {
    let indexes = match outbox.db.connection().get_database_backend() {
        DbBackend::Sqlite => "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
        DbBackend::Postgres => "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname",
        _ => {
            "SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name, non_unique) \
             FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1"
        }
    };
    let mut schema = columns(outbox).await;
    schema.extend(outbox.texts(indexes).await);
    schema
}

async fn columns(outbox: &TestOutbox) -> Vec<String> {
    let columns = match outbox.db.connection().get_database_backend() {
        DbBackend::Sqlite => {
            "SELECT tables.name || '.' || columns.name || ' ' || columns.type \
             || CASE WHEN columns.\"notnull\" THEN '' ELSE ' null' END \
             || CASE WHEN columns.pk THEN ' key ' || columns.pk ELSE '' END \
             FROM sqlite_master AS tables JOIN pragma_table_info(tables.name) AS columns \
             WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' ORDER BY 1"
        }
        DbBackend::Postgres => {
            "SELECT columns.table_name || '.' || columns.column_name || ' ' || udt_name \
             || COALESCE('(' || character_maximum_length || ')', '') \
             || CASE is_nullable WHEN 'YES' THEN ' null' ELSE '' END || COALESCE(' key ' || keys.ordinal_position, '') \
             FROM information_schema.columns LEFT JOIN information_schema.key_column_usage AS keys \
             ON keys.table_name = columns.table_name AND keys.column_name = columns.column_name \
             AND keys.constraint_name LIKE '%_pkey' \
             WHERE columns.table_schema = 'public' ORDER BY 1"
        }
        _ => {
            "SELECT CONCAT(columns.table_name, '.', columns.column_name, ' ', column_type, \
             IF(is_nullable = 'YES', ' null', ''), IFNULL(CONCAT(' key ', seq_in_index), '')) \
             FROM information_schema.columns LEFT JOIN information_schema.statistics AS indexes \
             ON indexes.table_schema = columns.table_schema AND indexes.table_name = columns.table_name \
             AND indexes.column_name = columns.column_name AND index_name = 'PRIMARY' \
             WHERE columns.table_schema = DATABASE() ORDER BY 1"
        }
    };
    outbox.texts(columns).await
}

/// Its tables are in use for longer than it waits for a lock: all others would wait behind it.
#[tokio::test]
async fn a_migration_goes_on_when_the_tables_are_free() {
    for (server, engine) in [(Server::own_postgres(), Engine::Postgres), (Server::own_mariadb(), Engine::MariaDb)] {
        let database = TestDatabase::create_on(&server, engine).await;
        let (migrating, using) = (database.connect().await, database.connect().await);
        let before_owners = Migrator::migrations().iter().position(|it| it.name() == OWNERS).unwrap();
        Migrator::up(&migrating, Some(u32::try_from(before_owners).unwrap())).await.unwrap();

        let user = using.begin().await.unwrap();
        user.execute_unprepared("SELECT id FROM quote").await.unwrap();
        let feebox = Process::start(&["migrate", "up"], &[("DATABASE_URL", database.url())]);
        feebox.wait_for_line(LIMIT, |line| line.contains("in use, trying again")).await;
        user.rollback().await.unwrap();
        assert!(feebox.wait(LIMIT).await.success(), "{engine:?} {:#?}", feebox.lines());
        assert!(Migrator::get_pending_migrations(&migrating).await.unwrap().is_empty(), "{engine:?}");
    }
}

/// How many quotes have an older version's keys.
const OLDER: u32 = 20_000;

/// On `MariaDB` each statement of a migration commits by itself.
#[tokio::test]
async fn a_migration_that_is_killed_while_it_gives_owners_to_quotes_goes_on_where_it_was() {
    let database = TestDatabase::create(Engine::MariaDb).await;
    let db = database.connect().await;
    let before_owners = Migrator::migrations().iter().position(|it| it.name() == OWNERS).unwrap();
    Migrator::up(&db, Some(u32::try_from(before_owners).unwrap())).await.unwrap();
    let (id, at) = ("UNHEX(LPAD(HEX(seq), 32, '0'))", "'2026-01-01 00:00:00'");
    for insert in [
        format!(
            "INSERT INTO quote (id, customer_id, currency, amount_minor, `lines`, status, submitted_at, updated_at) \
             SELECT {id}, 'ada', 'EUR', 1, '[]', 'pending', {at}, {at} FROM seq_1_to_{OLDER}"
        ),
        format!(
            "INSERT INTO outbox_event (id, aggregate_type, aggregate_id, event_type, destination, sequence, payload, status, \
             attempts, live_since, due_at, outcome_unknown, withdrawn, failures, created_at) \
             SELECT {id}, 'quote', {id}, 'quote.submitted', 'fee-server', 1, '{{}}', 'pending', 0, {at}, {at}, 0, 0, '[]', {at} \
             FROM seq_1_to_{OLDER}"
        ),
        format!(
            "INSERT INTO idempotency_key (scope, `key`, request_sha256, quote_ids, created_at) \
             SELECT CONCAT('owner-', seq MOD 3), seq, '', \
             CONCAT('[\"00000000-0000-0000-0000-', LPAD(HEX(seq), 12, '0'), '\"]'), {at} FROM seq_1_to_{OLDER}"
        ),
    ] {
        db.execute_unprepared(&insert).await.unwrap();
    }
    let number = async |question: &str| {
        let row = db.query_one_raw(Statement::from_string(DbBackend::MySql, question)).await.ok()?;
        row.unwrap().try_get_by_index::<i64>(0).ok()
    };
    let owned = "SELECT count(*) FROM quote WHERE submitted_by IS NOT NULL";

    let killed = Process::start(&["migrate", "up"], &[("DATABASE_URL", database.url())]);
    eventually("a quote has its owner", LIMIT, async || number(owned).await.filter(|owned| *owned > 0)).await;
    drop(killed);
    assert!(number(owned).await.unwrap() < i64::from(OLDER), "it was killed too late to show anything");

    let again = Process::start(&["migrate", "up"], &[("DATABASE_URL", database.url())]);
    assert!(again.wait(LIMIT).await.success(), "{:#?}", again.lines());
    let right = "FROM quote q JOIN outbox_event e ON e.aggregate_id = q.id \
                 WHERE q.submitted_by = CONCAT('owner-', CONV(HEX(q.id), 16, 10) MOD 3) AND e.partner = q.submitted_by";
    assert_eq!(number(&format!("SELECT count(*) {right}")).await, Some(i64::from(OLDER)));
}
