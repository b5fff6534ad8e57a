//! The proxies' files: each proxy is started with the one that is shipped, and called.

use std::fs;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use feebox::lab::sample_fee_server::Faults;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::read;
use crate::support::{Authority, Engine, LIMIT, Stage, a_quote, eventually, free_port, http_client};

const TOKEN: &str = "shop-token";
const VIEWERS_TOKEN: &str = "eye-token";

/// A proxy with the file that is shipped, but for ports and certificate.
struct Proxy {
    child: Child,
    _directory: TempDir,
}

/// Starts one that listens on the first port and passes on to the other two.
type Start = fn(u16, [u16; 2], &Authority) -> Proxy;

fn nginx(listens: u16, servers: [u16; 2], authority: &Authority) -> Proxy {
    let directory = tempfile::Builder::new().prefix("feebox-nginx.").tempdir().unwrap();
    let identity = authority.vouch_for("localhost");
    let changes = [
        ("127.0.0.1:8080;", format!("127.0.0.1:{};", servers[0])),
        ("127.0.0.1:8081;", format!("127.0.0.1:{};", servers[1])),
        ("listen 443 ssl;", format!("listen 127.0.0.1:{listens} ssl;")),
        ("/etc/feebox/certificate.pem", identity.certificate.display().to_string()),
        ("/etc/feebox/key.pem", identity.key.display().to_string()),
    ];
    let (site, path) = (shipped("deploy/nginx.conf", &changes), directory.path().display());
    let user = if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        "user root;"
    } else {
        ""
    };
    let whole = format!(
        "{user}\npid {path}/pid;\nerror_log {path}/error.log;\ndaemon off;\nworker_processes 1;\nevents {{}}\n\
         http {{\naccess_log off;\nclient_body_temp_path {path}/body;\nproxy_temp_path {path}/proxy;\n\
         fastcgi_temp_path {path}/fastcgi;\nuwsgi_temp_path {path}/uwsgi;\nscgi_temp_path {path}/scgi;\n{site}\n}}\n"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, whole).unwrap();
    let nginx = || {
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.arg("-c").arg(&file).arg("-e").arg(directory.path().join("error.log"));
        nginx
    };
    let tested = nginx().arg("-t").output().expect("nginx is not installed: run tests/servers/install nginx");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let child = nginx().stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Proxy { child, _directory: directory }
}

/// Caddy without what it would do for itself: a certificate from the internet, a port for its administrator, and a redirection.
fn caddy(listens: u16, servers: [u16; 2], authority: &Authority) -> Proxy {
    let directory = tempfile::Builder::new().prefix("feebox-caddy.").tempdir().unwrap();
    let identity = authority.vouch_for("localhost");
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    let site = format!("https://localhost:{listens} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}\n");
    let changes = [
        ("fees.example {\n", site),
        ("127.0.0.1:8080", format!("127.0.0.1:{}", servers[0])),
        ("127.0.0.1:8081", format!("127.0.0.1:{}", servers[1])),
    ];
    let whole =
        format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{}", shipped("deploy/Caddyfile", &changes));
    let file = directory.path().join("Caddyfile");
    fs::write(&file, whole).unwrap();
    let caddy = |command: &str| {
        let mut caddy = Command::new("caddy");
        caddy.args([command, "--adapter", "caddyfile", "--config"]).arg(&file).env("HOME", directory.path());
        caddy
    };
    let tested = caddy("validate").output().expect("caddy is not installed: run tests/servers/install caddy");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let child = caddy("run").stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Proxy { child, _directory: directory }
}

/// The file that is shipped, with what is different here.
fn shipped(file: &str, changes: &[(&str, String)]) -> String {
    let mut site = read(file);
    for (shipped, here) in changes {
        assert!(site.contains(shipped), "{shipped}");
        site = site.replace(shipped, here);
    }
    site
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It ends its workers only if it is asked to.
        let _ = Command::new("sh").args(["-c", &format!("kill -s TERM {}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

fn client(authority: &Authority, from: &str) -> Client {
    let _ = http_client();
    let certificate = reqwest::Certificate::from_pem(&fs::read(authority.certificate()).unwrap()).unwrap();
    let from: IpAddr = from.parse().unwrap();
    Client::builder().tls_certs_only([certificate]).local_address(from).no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_as_shipped_clients_are_served_and_known_by_their_address() {
    clients_are_served_and_known_by_their_address(nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_caddy_as_shipped_clients_are_served_and_known_by_their_address() {
    clients_are_served_and_known_by_their_address(caddy).await;
}

async fn clients_are_served_and_known_by_their_address(start: Start) {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let tokens = format!(
        "[{{name = 'shop', sha256 = '{}', role = 'submitter'}}, {{name = 'eye', sha256 = '{}', role = 'viewer'}}]",
        sha256(TOKEN),
        sha256(VIEWERS_TOKEN)
    );
    let settings = [("access.tokens", tokens.as_str()), ("server.trusted_proxies", "['127.0.0.1']")];
    let (serve, base_url) = stage.serve(&settings, &[]).await;
    let port = base_url.rsplit(':').next().unwrap().parse().unwrap();
    let (listens, nobody, authority) = (free_port(), free_port(), Authority::new("the partners'"));
    let _proxy = start(listens, [port, nobody], &authority);
    // 127.0.0.2 is this host, too, and not the proxy's address.
    let client = client(&authority, "127.0.0.2");
    let url = format!("https://localhost:{listens}");

    let stored = eventually("the proxy passes a quote on", LIMIT, async || {
        let answer = client.post(format!("{url}/v1/quotes")).bearer_auth(TOKEN).json(&a_quote()).send().await.ok()?;
        (answer.status() == 201).then_some(answer)
    })
    .await;
    let quote: Value = stored.json().await.unwrap();
    let found =
        client.get(format!("{url}/v1/quotes/{}", quote["id"].as_str().unwrap())).bearer_auth(TOKEN).send().await;
    assert_eq!(found.unwrap().status(), 200);
    assert_eq!(client.get(format!("{url}/v1/quotes")).send().await.unwrap().status(), 401, "nobody without a token");
    assert_eq!(client.get(format!("{url}/metrics")).send().await.unwrap().status(), 404, "metrics stay inside");

    // What changes reaches an open page at once: the proxy does not collect the stream until it ends.
    let live = client.get(format!("{url}/dashboard/live?page=/workers")).bearer_auth(VIEWERS_TOKEN);
    let mut stream = live.send().await.unwrap();
    let told = timeout(LIMIT, stream.chunk()).await.expect("a part of the stream").unwrap().unwrap();
    assert!(told.starts_with(b"event: page"), "{told:?}");

    // A batch may have 8 MiB. The proxy lets that much through, so the answer is Feebox's own: it knows no such field.
    let batch = json!({ "quotes": [a_quote()], "padding": "x".repeat(8_000_000) });
    let answer = client.post(format!("{url}/v1/quotes:batch")).bearer_auth(TOKEN).json(&batch).send().await.unwrap();
    let (status, problem) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert!([400, 422].contains(&status) && problem.contains("padding"), "{status} {problem:.300}");

    // The line about the refused call.
    let logged = serve.wait_for_line(LIMIT, |line| line.contains("without the right")).await;
    assert!(logged.contains("127.0.0.2") && !logged.contains("127.0.0.1"), "{logged}");
}

fn sha256(text: &str) -> String {
    let done = Command::new("sh").args(["-c", &format!("printf %s {text} | sha256sum")]).output().unwrap();
    String::from_utf8(done.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
