use super::*;

#[test]
fn secrets_are_shown_nowhere() {
    let tokens = format!("[{{name = 'ops', sha256 = '{SHA256}', role = 'operator'}}]");
    let secret = [
        ("database.url", "postgres://feebox:hunter2@db/feebox?sslmode=require&password=hunter2"),
        ("fee_server.token", "hunter2"),
        ("kafka.sasl_password", "hunter2"),
        ("access.tokens", &tokens),
    ];
    let settings = load(&secret).expect("settings");
    let shown = settings.redacted().to_string();
    let json = serde_json::to_string(settings.redacted()).expect("JSON");
    for text in [format!("{settings:?}"), format!("{settings:#?}"), shown.clone(), json] {
        assert!(!text.contains("hunter2") && !text.contains(SHA256), "{text}");
    }
    let url = "url = \"postgres://feebox:***@db/feebox?sslmode=require&password=***\" # command line";
    assert!(shown.contains(url), "{shown}");
    for (url, expected) in [
        (
            "postgres://u@db/x?sslmode=require&sslkey=hunter2&sslkey_pass=hunter2",
            "?sslmode=require&sslkey=***&sslkey_pass=***",
        ),
        ("postgres://u:hunter2@db/x?ssl-mode=disabled&Passwd=hunter2#hunter2", "?ssl-mode=disabled&Passwd=***#***"),
        // A password with an unescaped /, ? or #.
        ("postgres://u:12/hunter2@db/x", "postgres://u:12/***"),
        ("mysql://u:12?hunter2@db/x", "mysql://u:12?***=***"),
        ("mysql://u:12#hunter2@db/x", "mysql://u:12#***"),
    ] {
        let shown = load(&[("database.url", url)]).expect(url).redacted().to_string();
        assert!(shown.contains(expected) && !shown.contains("hunter2"), "{shown}");
    }
    let token = settings.fee_server.token.expect("token");
    assert_eq!(token.expose_secret(), "hunter2");

    let invalid = refused(&[
        ("database.url", "oracle://u:hunter2@db"),
        ("fee_server.token", "hunter2 hunter2"),
        ("fee_server.base_url", "http://u:hunter2@fees"),
    ]);
    assert_eq!(invalid.lines().count(), 3, "{invalid}");
    assert!(!invalid.contains("hunter2"), "{invalid}");
}

#[test]
fn what_is_shown_is_toml() {
    let shown = load(&[]).expect("defaults").redacted().to_string();
    let table: toml::Table = shown.parse().expect("TOML");
    assert_eq!(table["worker"]["lease"].as_str(), Some("30s"));
}

#[test]
fn a_secret_is_read_from_its_file_or_inline_but_not_both() {
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("token"), "hunter2\n").expect("token");
    fs::write(dir.path().join("empty"), "\n").expect("empty");
    fs::write(dir.path().join("url"), "mysql://feebox:hunter2@db/feebox\n").expect("url");
    let load = |overrides: &[(&str, &str)]| {
        Settings::load(&Sources { dir: dir.path().to_owned(), ..Sources::overrides(overrides.iter().copied()) })
    };

    let settings = load(&[("fee_server.token_file", "token"), ("database.url_file", "url")]).expect("settings");
    assert_eq!(settings.fee_server.token.as_ref().expect("token").expose_secret(), "hunter2");
    assert_eq!(settings.database.url.expose_secret(), "mysql://feebox:hunter2@db/feebox");
    let shown = settings.redacted().to_string();
    assert!(shown.contains("url = \"mysql://feebox:***@db/feebox\" # file url\n"), "{shown}");

    let both = [("fee_server.token_file", "token"), ("fee_server.token", "other")];
    let both = load(&both).expect_err("an error").to_string();
    assert!(both.contains("is set here and also by fee_server.token_file"), "{both}");
    let unreadable = [("fee_server.token_file", "nowhere"), ("kafka.sasl_password_file", "empty")];
    let unreadable = load(&unreadable).expect_err("an error").to_string();
    assert!(unreadable.contains("\"nowhere\" cannot be read"), "{unreadable}");
    assert!(unreadable.contains("\"empty\" is empty"), "{unreadable}");
}
