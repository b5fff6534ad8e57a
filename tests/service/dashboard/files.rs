//! The files of the dashboard.

use std::collections::BTreeSet;

use crate::support::{Api, Engine, TestDatabase};

#[tokio::test]
async fn the_dashboard_loads_nothing_from_other_hosts_and_has_no_inline_code() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    let (mut paths, mut at) = (vec!["/".to_owned()], 0);
    while at < paths.len() {
        let path = paths[at].clone();
        at += 1;
        let answer = api.get(&path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'; ") && !policy.contains("unsafe"), "{policy}");
        let text = answer.text().await.unwrap();
        let foreign = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http://") && !foreign.contains("https://") && !text.contains("@import"), "{path}");
        // Text of events and quotes never becomes markup.
        for way in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "<style", "<script>", "style="]
        {
            assert!(!text.contains(way), "{path}: {way}");
        }
        let known: BTreeSet<_> = paths.iter().cloned().collect();
        let folder = path.rsplit_once('/').unwrap().0;
        let named = text.split('"').filter(|it| [".js", ".css", ".svg"].iter().any(|end| it.ends_with(end)));
        let named: BTreeSet<_> = named.map(|it| resolved(folder, it)).collect();
        paths.extend(named.difference(&known).cloned());
    }
    assert!(paths.len() > 12, "{paths:?}");
    assert_eq!(api.get("/dashboard/none.js").await.status(), 404);
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start(&database).await;
    for (path, kind) in [
        ("/dashboard/main.js", "text/javascript"),
        ("/dashboard/style/base.css", "text/css"),
        ("/dashboard/language/ko.js", "text/javascript"),
    ] {
        let first = api.get(path).await;
        assert!(first.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
        let tag = first.headers()["etag"].clone();
        let again = api.request(reqwest::Method::GET, path).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!((again.status().as_u16(), again.text().await.unwrap()), (304, String::new()), "{path}");
        let changed =
            api.request(reqwest::Method::GET, path).header("if-none-match", "\"other\"").send().await.unwrap();
        assert_eq!(changed.status(), 200, "{path}");
    }
}

/// The path that `name` in a file of `folder` means.
fn resolved(folder: &str, name: &str) -> String {
    if name.starts_with('/') {
        return name.to_owned();
    }
    let mut parts: Vec<_> = folder.split('/').collect();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}
