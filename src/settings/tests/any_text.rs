use super::*;

/// The first line names a key, the rest is its value: on the command line, and as a file.
#[test]
fn whatever_is_configured_is_taken_or_refused_with_its_key() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("config")).expect("a directory");
    let keys: Vec<String> = load(&[]).expect("defaults").redacted().values.keys().cloned().collect();
    crate::fuzz::fuzz("settings", |input| {
        let text = String::from_utf8_lossy(input);
        let (number, value) = text.split_once('\n').unwrap_or(("", &text));
        let known = number.bytes().map(usize::from).sum::<usize>() % keys.len();
        let key = number.strip_prefix('?').unwrap_or(&keys[known]);
        let by_flag = load(&[(key, value)]);
        fs::write(dir.path().join("config/fuzz.toml"), value).expect("a file");
        let by_file = Settings::load(&Sources { dir: dir.path().to_owned(), ..from_env(&[("FEEBOX_ENV", "fuzz")]) });
        let kinds = [by_flag, by_file].map(|settings| match settings {
            Ok(settings) => {
                let shown = settings.redacted().to_string();
                assert!(shown.parse::<toml::Table>().is_ok(), "{shown}");
                "taken".into()
            }
            Err(error) => {
                assert!(!error.invalid.is_empty());
                crate::fuzz::kind_of(&error.to_string())
            }
        });
        kinds.concat()
    });
}
