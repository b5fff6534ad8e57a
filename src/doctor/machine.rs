//! This host: descriptors, disk, and the files with secrets.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::{Resource, getrlimit};
use secrecy::ExposeSecret;

use super::Finding;
use crate::settings::{Role, Settings};

/// With fewer, a process opens fewer connections than the settings allow.
const DESCRIPTORS_MIN: u64 = 1024;
/// Less free space than this is too little for an SQLite file and its log.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let mut found = vec![descriptors()];
    found.extend(tokens(settings));
    let secret_files = [
        ("database.url_file", settings.database.url_file.as_deref()),
        ("fee_server.token_file", settings.fee_server.token_file.as_deref()),
        ("fee_server.ssl_key_location", settings.fee_server.ssl_key_location.as_deref()),
        ("kafka.ssl_key_location", settings.kafka.ssl_key_location.as_deref()),
    ];
    found.extend(secret_files.into_iter().filter_map(|(key, path)| secret_file(key, path?)));
    found.extend(sqlite_file(settings));
    found
}

fn descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    match limit.maximum.or(limit.current) {
        Some(most) if most < DESCRIPTORS_MIN => Finding::wrong(
            "descriptors",
            format!("a process may open {most} files and connections"),
            format!("raise the limit to {DESCRIPTORS_MIN} or more: ulimit -n, or LimitNOFILE= in the unit"),
        ),
        most => Finding::fine(
            "descriptors",
            most.map_or("no limit".into(), |most| format!("a process may open {most} files and connections")),
        ),
    }
}

fn tokens(settings: &Settings) -> Vec<Finding> {
    let tokens = &settings.access.tokens;
    if tokens.is_empty() {
        return vec![Finding::note(
            "tokens",
            "none is configured: everybody on this machine is an operator, and nobody else may call",
        )];
    }
    let has = |role| tokens.iter().any(|token| token.role == role);
    let detail = format!("{} are configured", tokens.len());
    vec![if has(Role::Operator) {
        Finding::fine("tokens", detail)
    } else {
        Finding::wrong(
            "tokens",
            format!("{detail}, none of an operator: nobody can retry or pause over HTTP"),
            "add a token with role \"operator\" to access.tokens",
        )
    }]
}

/// A file with a secret that others can read, too.
fn secret_file(key: &'static str, path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        Finding::wrong(
            "files",
            format!("everybody on this machine can read {path} ({key})"),
            format!("chmod o= {path}"),
        )
    })
}

fn sqlite_file(settings: &Settings) -> Vec<Finding> {
    let url = settings.database.url.expose_secret();
    let Some(path) = url.strip_prefix("sqlite:") else { return vec![] };
    let path = Path::new(path.trim_start_matches("//").split('?').next().unwrap_or_default());
    let mut found = Vec::new();
    if let Ok(file) = fs::metadata(path)
        && file.permissions().mode() & 0o077 != 0
    {
        let path = path.display();
        found.push(Finding::wrong(
            "files",
            format!("others can read {path}, which holds all quotes"),
            format!("chmod 600 {path}*"),
        ));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(disk) = rustix::fs::statvfs(folder) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let detail = format!("{} MiB are free where {} is", free / 1024 / 1024, path.display());
        found.push(if free < FREE_BYTES_MIN {
            Finding::wrong("disk", detail, "free space: a full disk refuses submissions (nothing is lost)")
        } else {
            Finding::fine("disk", detail)
        });
    }
    found
}
