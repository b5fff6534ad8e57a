//! Alerts and dashboard: each row of the table that operators watch has a rule, each rule is tested, and none asks for what no
//! process shows.

use std::collections::BTreeSet;

use feebox::lab::sample_fee_server::Faults;

use super::{read, root, succeed};
use crate::support::{Engine, LIMIT, Stage, a_quote, base_url_of, eventually, http_client};

/// These appear at their first event only, and the rules do without an earlier zero.
const ONLY_WHEN_IT_HAPPENS: [&str; 2] = ["feebox_connections_closed_total", "feebox_task_panics_total"];
/// Prometheus adds these labels.
const ADDED_LABELS: [&str; 2] = ["job", "instance"];

#[test]
fn every_row_of_the_watch_table_has_a_rule() {
    let page = read("docs/operations.md");
    let table = page.split("\n## Watch\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').nth(1).unwrap());
    let watched: BTreeSet<String> = rows.flat_map(metrics).collect();
    let asked: BTreeSet<String> = rules().iter().flat_map(|(_, query)| metrics(query)).collect();
    assert!(watched.len() > 20, "{watched:?}");
    let missing: Vec<_> = watched.difference(&asked).collect();
    assert!(missing.is_empty(), "no rule of deploy/alerts.yml asks for {missing:?}");
}

#[test]
fn rules_fire_for_their_trouble_and_are_silent_otherwise() {
    let tests = read("deploy/alerts.test.yml");
    for (alert, _) in rules() {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "deploy/alerts.test.yml does not test {alert}");
    }
    let deploy = root().join("deploy").display().to_string();
    succeed("promtool", &["test", "rules", &format!("{deploy}/alerts.test.yml")]);
    succeed("promtool", &["check", "config", &format!("{deploy}/prometheus.yml")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_dashboard_ask_only_for_what_processes_show() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let audits = [("audit.schedule", "* * * * * *")];
    let (_serve, api) = stage.serve(&audits, &[]).await;
    let worker = stage.worker(&audits).await;
    let answer = http_client().post(format!("{api}/v1/quotes")).json(&a_quote()).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    stage.drained().await;
    let urls = [format!("{api}/metrics"), format!("{}/metrics", base_url_of(&worker).await)];
    // What the fleet shares is read in the background.
    let page = eventually("gauges of the first audit", LIMIT, async || {
        let mut page = String::new();
        for url in &urls {
            page += &http_client().get(url).send().await.ok()?.text().await.ok()?;
        }
        page.contains("feebox_last_audit_timestamp_seconds ").then_some(page)
    })
    .await;

    let mut unknown = vec![];
    let rules = rules();
    let dashboard = dashboard();
    for query in rules.iter().map(|(_, query)| query).chain(&dashboard) {
        unknown.extend(selectors(query).into_iter().filter(|selector| !is_shown(&page, selector)));
    }
    assert!(rules.len() > 20 && dashboard.len() > 20, "{} rules, {} queries", rules.len(), dashboard.len());
    assert!(unknown.is_empty(), "no process shows {unknown:#?} on\n{page}");
}

/// The names and the queries of all rules.
fn rules() -> Vec<(String, String)> {
    let text = read("deploy/alerts.yml");
    let rules = text.split("- alert: ").skip(1).map(|rule| {
        let name = rule.lines().next().unwrap().to_owned();
        let query = rule.split("expr:").nth(1).unwrap().split("labels:").next().unwrap();
        (name, query.split('#').next().unwrap().to_owned())
    });
    rules.collect()
}

/// The queries of all panels.
fn dashboard() -> Vec<String> {
    let board: serde_json::Value = serde_json::from_str(&read("deploy/grafana.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// A metric and the labels by which it is selected: `name="value"`.
type Selector = (String, Vec<String>);

fn selectors(query: &str) -> Vec<Selector> {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let starts = query.char_indices().filter(|(index, _)| {
        let (before, rest) = query.split_at(*index);
        !before.ends_with(is_of_name) && ["feebox_", "process_"].iter().any(|prefix| rest.starts_with(prefix))
    });
    let found = starts.map(|(index, _)| {
        let rest = &query[index..];
        let name: String = rest.chars().take_while(|c| is_of_name(*c)).collect();
        let labels = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let labels = labels.split(',').filter(|label| !label.is_empty() && !label.contains("!="));
        let labels = labels.filter(|label| !ADDED_LABELS.contains(&label.split('=').next().unwrap()));
        (name, labels.map(str::to_owned).collect())
    });
    found.collect()
}

fn metrics(query: &str) -> Vec<String> {
    let whole = |(name, _): Selector| name.trim_end_matches("_bucket").to_owned();
    selectors(query).into_iter().map(whole).collect()
}

fn is_shown(page: &str, (name, labels): &Selector) -> bool {
    let is_shown = page.lines().any(|line| {
        let rest = line.strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label.as_str()))
    });
    is_shown || ONLY_WHEN_IT_HAPPENS.contains(&name.as_str())
}
