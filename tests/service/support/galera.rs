//! Three nodes of MariaDB, all of which take writes.

use std::ops::Deref;
use std::sync::OnceLock;

use sea_orm::ConnectionTrait;
use tokio::sync::{Mutex, MutexGuard};

use super::{Server, TestDatabase};

/// The second node's clock is ahead of the others': whatever is tested holds with clocks that differ.
const SECONDS_AHEAD: [&str; 3] = ["+0", "+2", "+0"];

/// The cluster that all tests of this process share, one after the other: they break its nodes.
pub struct Galera {
    server: Server,
}

impl Galera {
    /// Waits for its turn. All nodes are up and in step then: where the last test's have failed for good, others are.
    pub async fn turn() -> MutexGuard<'static, Galera> {
        static CLUSTER: OnceLock<Mutex<Galera>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(|| Mutex::new(Galera::start()));
        let mut cluster = cluster.lock().await;
        if cluster.server.has_ended() {
            *cluster = Galera::start();
        }
        cluster.tell("mend", "mended");
        cluster
    }

    fn start() -> Galera {
        Galera { server: Server::galera(&SECONDS_AHEAD) }
    }

    /// `HAProxy` before the nodes, of which it uses one at a time.
    pub async fn balancer(&self, database: &TestDatabase) -> Server {
        let first = database.at(&self.server.hosts()[0]).connect().await;
        first.execute_unprepared("CREATE USER IF NOT EXISTS haproxy").await.unwrap();
        Server::haproxy("galera", &self.server.hosts())
    }

    /// `database` by way of `node`, of 1 to 3, alone.
    pub fn node(&self, database: &TestDatabase, node: usize) -> TestDatabase {
        database.at(&self.server.hosts()[node - 1])
    }

    /// Obeys `tests/servers/galera`'s commands.
    pub fn tell(&self, command: &str, answer: &str) {
        self.server.command(command, answer);
    }
}

impl Deref for Galera {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
