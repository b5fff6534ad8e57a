//! Where a database is, and with which credentials it opens.

use std::{str::FromStr, time::Duration};

use sea_orm::{
    DatabaseConnection, DatabaseConnectionType, DbBackend, DbErr, RuntimeErr,
    sqlx::{
        self, Database, Pool, mysql::MySqlConnectOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
    },
};

/// Where a database is, and with which credentials it opens.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Postgres(Box<PgConnectOptions>),
    MariaDb(Box<MySqlConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

/// What a pool of `SeaORM` says about its database.
pub(super) struct Shared {
    pub address: Address,
    /// The most sessions that it opens.
    pub sessions_max: u32,
    /// How long a caller waits for one of them.
    pub wait_max: Duration,
}

impl Address {
    pub fn parse(backend: DbBackend, url: &str) -> Result<Self, sqlx::Error> {
        Ok(match backend {
            DbBackend::Postgres => Self::Postgres(Box::new(PgConnectOptions::from_str(url)?)),
            DbBackend::MySql => Self::MariaDb(Box::new(MySqlConnectOptions::from_str(url)?)),
            _ => Self::Sqlite(Box::new(SqliteConnectOptions::from_str(url)?)),
        })
    }

    /// Whether nothing may be prepared for longer than a transaction: sqlx's parameter, which its documentation recommends for
    /// poolers. There is no way to ask for it but its text; `to_url_lossy` panics at hosts and names that no URL can hold.
    pub fn is_behind_pooler(&self) -> bool {
        match self {
            Self::Postgres(options) => format!("{options:?}").contains("statement_cache_capacity: 0,"),
            Self::MariaDb(_) | Self::Sqlite(_) => false,
        }
    }
}

impl Shared {
    /// What `connection` says.
    #[allow(
        clippy::match_wildcard_for_single_variants,
        reason = "others may turn on SeaORM's features that add variants"
    )]
    pub fn of(connection: &DatabaseConnection) -> Result<Self, DbErr> {
        match &connection.inner {
            DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                let pool = connection.get_postgres_connection_pool();
                Ok(Self::of_pool(pool, Address::Postgres(Box::new((*pool.connect_options()).clone()))))
            }
            DatabaseConnectionType::SqlxMySqlPoolConnection(_) => {
                let pool = connection.get_mysql_connection_pool();
                Ok(Self::of_pool(pool, Address::MariaDb(Box::new((*pool.connect_options()).clone()))))
            }
            DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                let pool = connection.get_sqlite_connection_pool();
                Ok(Self::of_pool(pool, Address::Sqlite(Box::new((*pool.connect_options()).clone()))))
            }
            _ => Err(DbErr::Conn(RuntimeErr::Internal(
                "this connection is not one of PostgreSQL, MariaDB or SQLite".into(),
            ))),
        }
    }

    fn of_pool<D: Database>(pool: &Pool<D>, address: Address) -> Self {
        let options = pool.options();
        Self { address, sessions_max: options.get_max_connections(), wait_max: options.get_acquire_timeout() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooler_is_known_by_the_parameter_whatever_else_is_set() {
        let address = |options: PgConnectOptions| Address::Postgres(Box::new(options));
        let options = PgConnectOptions::new_without_pgpass().host("::1").username("a[/?#@b").password("");
        assert!(!address(options.clone()).is_behind_pooler());
        assert!(address(options.statement_cache_capacity(0)).is_behind_pooler());
        let parse = |url| Address::parse(DbBackend::Postgres, url).expect("a URL");
        assert!(parse("postgres://host/name?statement-cache-capacity=0").is_behind_pooler());
        assert!(!parse("postgres://host/name?statement-cache-capacity=10").is_behind_pooler());
    }
}
