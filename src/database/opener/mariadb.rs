//! Sessions of MariaDB, alone or as a node of a Galera cluster.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use sea_orm::sqlx::{self, AssertSqlSafe, Executor, MySqlConnection, Row, mysql::MySqlConnectOptions, raw_sql};

use super::{GIGABYTE, IDLE_TRANSACTION_SECONDS, LOCK_SECONDS, Opener, Peer, connect};
use crate::database::session::{Driver, Session};

/// What a new session must know of its server. A node of a cluster says how far it has come: `4` is in step with the others.
const QUESTION: &str = "\
    SELECT CAST(@@max_allowed_packet AS SIGNED), CAST(CONNECTION_ID() AS SIGNED), CAST(@@global.read_only AS SIGNED), \
    EXISTS (SELECT 1 FROM information_schema.global_variables WHERE variable_name = 'wsrep_on' AND variable_value = 'ON'), \
    COALESCE((SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_local_state'), '') = '4'";

/// Others have committed what a client was told, and this node may still have to apply it. A read and a transaction wait for that, so that
/// what was stored through one node is found through all (<https://mariadb.com/kb/en/galera-cluster-system-variables/#wsrep_sync_wait>).
/// Writes need no wait: the cluster checks them against each other when they commit.
const WAIT_FOR_OTHERS: &str = "SET SESSION wsrep_sync_wait = 1";

impl Opener {
    /// A session, and whether its server refuses writes, or is a node that is cut off from its cluster or behind it.
    pub(super) async fn mariadb(
        self: &Arc<Self>,
        server: usize,
        options: &MySqlConnectOptions,
        opened: Instant,
    ) -> Result<(Session, bool), sqlx::Error> {
        let mut connection = connect::<MySqlConnection>(options).await?;
        // MariaDB's default isolation, repeatable read, locks gaps: claims and inserts would block each other. In strict mode
        // an invalid value is an error, and is not stored as zero.
        let session = format!(
            "SET SESSION autocommit = 1, SESSION completion_type = 'NO_CHAIN', SESSION tx_isolation = 'READ-COMMITTED', \
             SESSION tx_read_only = 0, SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}, \
             SESSION idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS}, SESSION unique_checks = 1, \
             SESSION foreign_key_checks = 1, SESSION sql_select_limit = DEFAULT, SESSION sql_mode = \
             'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'"
        );
        connection.execute(AssertSqlSafe(session)).await?;
        let row = connection.fetch_one(raw_sql(QUESTION)).await?;
        let (packet, id, read_only): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (is_node, is_in_step): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
        if is_node {
            connection.execute(WAIT_FOR_OTHERS).await?;
        }
        self.is_galera.store(is_node, Ordering::Relaxed);
        let mut session =
            Session::new(Driver::MySql(Box::new(connection)), opened, usize::try_from(packet).unwrap_or(GIGABYTE));
        session.is_of_node = is_node;
        let cannot_write = read_only != 0 || (is_node && !is_in_step);
        Ok((session.with_peer(Peer::new(Arc::clone(self), server, id)), cannot_write))
    }
}
