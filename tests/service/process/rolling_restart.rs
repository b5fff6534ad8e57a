//! Behind a load balancer the fleet is replaced one process after the other, and no client notices.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use feebox::lab::sample_fee_server::Faults;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{Engine, LIMIT, Process, Signal, Stage, a_quote, eventually, free_port, http_client};

/// `HAProxy` in front of some servers, as docs/operations.md configures it, but with quicker checks and without retries: what
/// a server refuses, the client sees.
struct Balancer {
    child: Child,
    base_url: String,
    _directory: TempDir,
}

impl Balancer {
    fn start(servers: &[u16]) -> Balancer {
        let (directory, port) = (tempfile::Builder::new().prefix("feebox-haproxy.").tempdir().unwrap(), free_port());
        let servers = servers.iter().map(|port| format!("    server feebox-{port} 127.0.0.1:{port}\n"));
        let servers = servers.collect::<Vec<_>>().concat();
        let config = format!(
            "defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    retries 0\n\
             frontend api\n    bind 127.0.0.1:{port}\n    default_backend feebox\n\
             backend feebox\n    option httpchk GET /readyz\n    http-check expect status 200\n    \
             default-server check inter 200ms fall 2 rise 1\n{servers}"
        );
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let child = Command::new("/usr/sbin/haproxy").arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).spawn();
        let child = child.expect("haproxy is not installed: run tests/servers/install haproxy");
        Balancer { child, base_url: format!("http://127.0.0.1:{port}"), _directory: directory }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Seen {
    stored: AtomicUsize,
    failed: AtomicUsize,
    is_over: AtomicBool,
}

/// Submits until the end, by one client or by a new one each time.
async fn submit(base_url: String, is_new_each_time: bool, seen: Arc<Seen>) {
    let mut client = http_client();
    while !seen.is_over.load(Ordering::SeqCst) {
        let answer = client.post(format!("{base_url}/v1/quotes")).json(&a_quote()).send().await;
        if answer.as_ref().is_ok_and(|answer| answer.status() == 201) {
            seen.stored.fetch_add(1, Ordering::SeqCst);
        } else {
            eprintln!("{answer:?}");
            seen.failed.fetch_add(1, Ordering::SeqCst);
        }
        if is_new_each_time {
            client = http_client();
        }
    }
}

async fn serve(stage: &Stage, port: u16) -> Process {
    let bind = format!("127.0.0.1:{port}");
    let serve = stage.process(&["serve"], &[("server.bind", &bind), ("server.drain", "3s")], &[]);
    serve.wait_ready(&format!("http://{bind}"), LIMIT).await;
    serve
}

/// How many quotes the process behind `port` has stored.
async fn stored_by(port: u16) -> u64 {
    let page =
        http_client().get(format!("http://127.0.0.1:{port}/metrics")).send().await.unwrap().text().await.unwrap();
    let count = page.lines().find_map(|line| line.strip_prefix("feebox_quotes_submitted_total "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

async fn has_its_share(port: u16) {
    eventually("the balancer sends it requests", LIMIT, async || (stored_by(port).await > 20).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_behind_a_balancer_fails_no_call() {
    let stage = Stage::new(Engine::Postgres, Faults::default()).await;
    let ports = [free_port(), free_port()];
    let mut processes = [serve(&stage, ports[0]).await, serve(&stage, ports[1]).await];
    let balancer = Balancer::start(&ports);
    let url = format!("{}/readyz", balancer.base_url);
    eventually("the balancer", LIMIT, async || {
        http_client().get(&url).send().await.is_ok_and(|answer| answer.status() == 200).then_some(())
    })
    .await;
    let (seen, mut clients) = (Arc::new(Seen::default()), JoinSet::new());
    for number in 0..16 {
        clients.spawn(submit(balancer.base_url.clone(), number >= 12, Arc::clone(&seen)));
    }
    for (process, port) in processes.iter_mut().zip(ports) {
        has_its_share(port).await;
        process.signal(Signal::Terminate);
        assert!(process.wait(LIMIT).await.success());
        *process = serve(&stage, port).await;
        has_its_share(port).await;
    }
    seen.is_over.store(true, Ordering::SeqCst);
    clients.join_all().await;
    let stored = seen.stored.load(Ordering::SeqCst);
    println!("{stored} calls");
    assert_eq!(seen.failed.load(Ordering::SeqCst), 0, "of {stored}");
    assert_eq!(stage.events().await.len(), stored, "each answer is stored, and nothing else");
}
