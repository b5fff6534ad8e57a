use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Long enough for a cold disk: a server that answers at all does so in one or two seconds.
const LIMIT: Duration = Duration::from_secs(90);

/// A service from `tests/servers`, or a running one that a variable names. A machine without it fails the test.
///
/// Everything here blocks and nothing belongs to an async runtime, since the shared servers outlive each test's own.
/// A server of our own ends with its pipe: when it is dropped, or, for a shared one, when the test process is gone.
pub struct Server {
    url: String,
    script: Option<Mutex<Script>>,
}

impl Server {
    /// The `PostgreSQL` that all tests of this process share, or that of `FEEBOX_TEST_POSTGRES_URL`.
    pub fn shared_postgres() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Server::running("FEEBOX_TEST_POSTGRES_URL").unwrap_or_else(Server::own_postgres))
    }

    /// The `MariaDB` that all tests of this process share, or that of `FEEBOX_TEST_MARIADB_URL`.
    pub fn shared_mariadb() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Server::running("FEEBOX_TEST_MARIADB_URL").unwrap_or_else(Server::own_mariadb))
    }

    /// A `PostgreSQL` for one test, which may stop, crash and start it.
    pub fn own_postgres() -> Server {
        Server::own("postgres", &[])
    }

    /// A `PostgreSQL` and its synchronous standby.
    pub fn postgres_pair() -> Server {
        Server::own("postgres_pair", &[])
    }

    /// A `MariaDB` and its asynchronous replica.
    pub fn mariadb_pair() -> Server {
        Server::own("mariadb_pair", &[])
    }

    /// Three nodes of `MariaDB`, whose clocks are so many seconds ahead.
    pub(super) fn galera(seconds_ahead: &[&str]) -> Server {
        Server::own("galera", seconds_ahead)
    }

    /// `HAProxy` before `servers`, as `deploy/haproxy` describes it.
    pub fn haproxy(name: &str, servers: &[String]) -> Server {
        let servers = servers.iter().map(String::as_str);
        Server::own("haproxy", &[name].into_iter().chain(servers).collect::<Vec<_>>())
    }

    /// A `MariaDB` for one test, which may stop, crash and start it.
    pub fn own_mariadb() -> Server {
        Server::own("mariadb", &[])
    }

    /// A `PgBouncer` in transaction pooling mode before all databases of the `PostgreSQL` at `target`.
    pub fn pgbouncer(target: &str) -> Server {
        Server::own("pgbouncer", &[target])
    }

    /// The broker that all tests of this process share, or those of `FEEBOX_TEST_KAFKA_BROKERS`: `host:port,host:port`.
    pub fn shared_kafka() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Server::running("FEEBOX_TEST_KAFKA_BROKERS").unwrap_or_else(Server::own_kafka))
    }

    /// A broker for one test, which may stop and start it.
    pub fn own_kafka() -> Server {
        Server::own("kafka", &[])
    }

    /// Three brokers of Apache Kafka, with the `certificates` of that directory.
    pub(super) fn kafka_cluster(certificates: &str) -> Server {
        Server::own("kafka_cluster", &[certificates])
    }

    /// The administrative database of the server; the address of a broker.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `host:port` of each, if it is several.
    pub fn hosts(&self) -> Vec<String> {
        let (_, hosts) = self.url.rsplit_once('@').unwrap();
        let (hosts, _) = hosts.split_once('/').unwrap();
        hosts.split(',').map(str::to_owned).collect()
    }

    /// Where a broker listens, if it is one.
    pub fn addr(&self) -> SocketAddr {
        self.url.parse().unwrap()
    }

    /// Ends the service in good order.
    pub fn stop(&self) {
        self.command("stop", "stopped");
    }

    /// Ends the service without a chance to write anything down.
    pub fn crash(&self) {
        self.command("crash", "crashed");
    }

    /// Starts the service again on the same port and data, and returns when it answers.
    pub fn start(&self) {
        self.command("start", "started");
    }

    fn running(variable: &str) -> Option<Server> {
        let url = std::env::var(variable).ok()?;
        Some(Server { url, script: None })
    }

    fn own(name: &'static str, args: &[&str]) -> Server {
        let script = Script::start(name, args);
        let url = script.read_line("its URL");
        Server { url, script: Some(Mutex::new(script)) }
    }

    /// Has the script obey `command`, which it answers with `answer`.
    pub fn command(&self, command: &str, answer: &str) {
        let script = self.script.as_ref();
        let script = script.expect("only a server of our own can be stopped or started");
        // A test that failed while it held the script leaves it to the others, whose own command says what is wrong with it.
        script.lock().unwrap_or_else(PoisonError::into_inner).command(command, answer);
    }

    /// Whether the script of a server of our own has ended, which it does when it fails.
    pub fn has_ended(&self) -> bool {
        let script = self.script.as_ref();
        script.is_some_and(|script| script.lock().unwrap_or_else(PoisonError::into_inner).has_ended())
    }
}

struct Script {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What it wrote to its standard error.
    complaints: Arc<Mutex<String>>,
}

impl Script {
    fn start(name: &'static str, args: &[&str]) -> Script {
        let path = format!("{}/tests/servers/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // away from the terminal's Ctrl-C: the end of the pipe is what ends it
            .spawn()
            .unwrap_or_else(|error| panic!("tests/servers/{name} does not run: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let complaints = Arc::new(Mutex::new(String::new()));
        let written = complaints.clone();
        thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                written.lock().unwrap().extend(["\n", name, ": ", &line]);
            }
        });
        Script { name, child, stdin, lines, complaints }
    }

    fn read_line(&self, what: &str) -> String {
        let name = self.name;
        self.lines.recv_timeout(LIMIT).unwrap_or_else(|error| {
            let complaints = self.complaints.lock().unwrap().clone();
            match error {
                RecvTimeoutError::Timeout => panic!("{name} did not say {what} within {LIMIT:?}{complaints}"),
                RecvTimeoutError::Disconnected => panic!(
                    "{name} ended before it said {what}; where it is not to be had, run `tests/servers/install {name}`{complaints}"
                ),
            }
        })
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn command(&mut self, command: &str, answer: &str) {
        // Where it has ended, the missing answer says so.
        let _ = writeln!(self.stdin.as_ref().unwrap(), "{command}");
        assert_eq!(self.read_line(answer), answer);
    }
}

impl Drop for Script {
    /// Returns when the process and its directory are gone.
    fn drop(&mut self) {
        drop(self.stdin.take());
        while self.lines.recv_timeout(LIMIT).is_ok() {}
        let _ = self.child.wait();
    }
}
