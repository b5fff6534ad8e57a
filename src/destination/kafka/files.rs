//! The files of certificates that a client reads when it is made, so that one whose files have changed can be replaced.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::settings;

/// How often the files are read again, while records are sent.
const READ_EVERY: Duration = Duration::from_secs(3);

/// The files, and what they held when a client was last made from them.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    read: Mutex<Read>,
}

struct Read {
    at: Instant,
    texts: Texts,
}

/// The contents of the files; none of one that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Texts(Vec<Option<Vec<u8>>>);

impl Files {
    pub(super) fn of(settings: &settings::Kafka) -> Self {
        let paths = [&settings.ssl_ca_location, &settings.ssl_certificate_location, &settings.ssl_key_location];
        Self::new(paths.into_iter().flatten().cloned().collect())
    }

    fn new(paths: Vec<PathBuf>) -> Self {
        let read = Mutex::new(Read { at: Instant::now(), texts: Texts::read(&paths) });
        Self { paths, read }
    }

    /// The same files for another client.
    pub(super) fn again(&self) -> Self {
        Self::new(self.paths.clone())
    }

    /// What they hold at `now`, if that is something else and it is time to look.
    pub(super) fn changed(&self, now: Instant) -> Option<Texts> {
        if self.paths.is_empty() {
            return None;
        }
        let mut read = self.read.lock();
        if now.saturating_duration_since(read.at) < READ_EVERY {
            return None;
        }
        read.at = now;
        let texts = Texts::read(&self.paths);
        (texts != read.texts).then_some(texts)
    }

    /// A client was made from these.
    pub(super) fn accept(&self, texts: Texts) {
        self.read.lock().texts = texts;
    }
}

impl Texts {
    fn read(paths: &[PathBuf]) -> Self {
        Self(paths.iter().map(|path| fs::read(path).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_until_a_client_was_made_from_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        fs::write(&path, "old").expect("a file");
        let (files, zero) = (Files::new(vec![path.clone()]), Instant::now());
        let at = |times| zero + READ_EVERY * times;
        fs::write(&path, "new").expect("a file");
        assert_eq!(files.changed(zero), None, "it is not time yet");
        let changed = files.changed(at(2)).expect("a change");
        assert_eq!(files.changed(at(3)), Some(changed.clone()), "no client could be made from it");
        files.accept(changed);
        assert_eq!(files.changed(at(4)), None);
        fs::remove_file(&path).expect("it is gone");
        assert!(files.changed(at(5)).is_some());
    }
}
