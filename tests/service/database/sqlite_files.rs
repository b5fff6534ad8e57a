//! The files of an SQLite database belong to their owner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::support::Process;

#[tokio::test]
async fn the_files_are_made_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", dir.path().join("feebox.db").display());
    let feebox = Process::start(&["migrate", "up"], &[("DATABASE_URL", &url)]);
    assert!(feebox.wait(Duration::from_mins(1)).await.success());
    // While it is open its log is there, too.
    let db = crate::support::open(&url).await;
    db.connection().execute_unprepared("DELETE FROM quote").await.unwrap();
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn an_existing_file_keeps_its_rights_and_its_log_has_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("feebox.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let feebox = Process::start(&["migrate", "up"], &[("DATABASE_URL", &url)]);
    assert!(feebox.wait(Duration::from_mins(1)).await.success());
    let db = crate::support::open(&url).await;
    db.connection().execute_unprepared("DELETE FROM quote").await.unwrap();
    for file in fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()) {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640, "{file:?}");
    }
}
