//! Units, manifests and settings that are shipped: read by systemd, by Kubernetes' own schemas and by Feebox.

use std::collections::BTreeSet;
use std::fs;

use super::{read, root, shipped, succeed};
use crate::support::{LIMIT, Process};

#[test]
fn units_are_valid_and_hardened() {
    let directory = tempfile::Builder::new().prefix("feebox-units.").tempdir().unwrap();
    let mut units = vec![];
    for name in ["feebox-migrate.service", "feebox-serve.service", "feebox-worker@.service"] {
        let text = read(&format!("deploy/systemd/{name}"));
        assert!(text.contains("/usr/local/bin/feebox "), "{name} starts Feebox");
        let unit = directory.path().join(name);
        // Feebox is not installed here, nor is its page.
        let text = text.replace("/usr/local/bin/feebox", env!("CARGO_BIN_EXE_feebox"));
        fs::write(&unit, text).unwrap();
        units.push(unit.display().to_string());
    }
    let mut verify = vec!["verify", "--man=no"];
    verify.extend(units.iter().map(String::as_str));
    let said = succeed("systemd-analyze", &verify);
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("feebox")).collect();
    assert!(about_ours.is_empty(), "{about_ours:#?}");
    for unit in &units {
        // From 0, nothing is permitted, to 100.
        succeed("systemd-analyze", &["security", "--offline=true", "--no-pager", "--threshold=20", unit]);
    }
}

#[test]
fn manifests_and_compose_fit_their_schemas() {
    succeed("python3", &["tests/deploy/check.py"]);
}

#[test]
fn variables_name_settings_that_exist() {
    let mut known = BTreeSet::new();
    let mut section = String::new();
    for line in read("config/default.toml").lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_uppercase();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            known.insert(format!("FEEBOX__{section}__{}", key.to_uppercase()));
        }
    }
    let (mut named, mut unknown) = (0, vec![]);
    for file in shipped() {
        let text = fs::read_to_string(&file).unwrap();
        for rest in text.split("FEEBOX__").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            named += 1;
            if !known.contains(&format!("FEEBOX__{name}")) {
                unknown.push(format!("{}: FEEBOX__{name}", file.display()));
            }
        }
    }
    assert!(named > 10, "only {named} variables are named");
    assert!(unknown.is_empty(), "no such settings: {unknown:#?}");
}

#[tokio::test]
async fn shipped_settings_are_accepted() {
    let manifest = read("deploy/kubernetes/settings.yaml");
    let settings = manifest.split("production.toml: |\n").nth(1).unwrap();
    for (what, text) in [("Kubernetes", settings), ("systemd", &read("deploy/systemd/production.toml"))] {
        let directory = tempfile::Builder::new().prefix("feebox-settings.").tempdir().unwrap();
        let path = directory.path().display().to_string();
        fs::create_dir_all(directory.path().join("config")).unwrap();
        fs::create_dir_all(directory.path().join("secrets")).unwrap();
        for secret in ["database-url", "secrets/database-url"] {
            fs::write(directory.path().join(secret), "postgres://feebox@db.internal/feebox").unwrap();
        }
        for secret in ["fee-server-token", "secrets/fee-server-token"] {
            fs::write(directory.path().join(secret), "token").unwrap();
        }
        fs::write(directory.path().join("config/production.toml"), text.replace("/etc/feebox", &path)).unwrap();
        let wrapper = ["env", "-C", &path];
        let config = Process::start_wrapped(&wrapper, &["config"], &[("FEEBOX_ENV", "production")]);
        let status = config.wait(LIMIT).await;
        let lines = config.lines().join("\n");
        assert!(status.success(), "{what}: {lines}");
        assert!(lines.contains("production.toml") && lines.contains("operations"), "{what}: {lines}");
    }
}

#[test]
fn the_image_is_built_from_all_that_it_needs() {
    let allowed = read(".dockerignore");
    let members =
        ["Cargo.toml", "Cargo.lock", "src", "entity", "migration", "config/default.toml", "benches", "examples"];
    for member in members {
        assert!(allowed.lines().any(|line| line == format!("!{member}")), "{member} is not sent to the build");
        assert!(root().join(member).exists(), "{member}");
    }
    let image = read("deploy/Dockerfile");
    for needed in ["--locked", "--features kafka", "USER 10001", "HEALTHCHECK", "STOPSIGNAL SIGTERM"] {
        assert!(image.contains(needed), "{needed}");
    }
}

#[test]
fn the_bill_of_materials_has_what_is_built_and_nothing_else() {
    let bill = succeed("deploy/sbom", &["--no-default-features", "--features", "kafka,cli"]);
    let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
    let crates = bill["components"].as_array().unwrap();
    let has = |name: &str| crates.iter().any(|it| it["name"] == name);
    assert!(has("rdkafka") && has("sea-orm") && has("entity"));
    assert!(!has("plotters") && !has("proptest"), "the laboratory and tests are not built");
    for component in crates {
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
        let is_ours = ["entity", "migration"].iter().any(|name| component["name"] == *name);
        assert!(is_ours || component["hashes"][0]["content"].is_string(), "{component}");
    }
}
