//! Writes log lines to standard error, on a separate thread.
//!
//! Logging neither blocks nor fails. If standard error is a full disk, a closed pipe or a pipe that nobody reads, lines are
//! lost and counted, and everything else goes on.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use crate::printable;

/// Most lines that wait to be written.
const QUEUED_MAX: usize = 10_000;
/// How long the process waits at its end for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of log lines that this process lost.
static LOST: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Line(Vec<u8>),
    /// Asks for a signal when all earlier lines are written.
    Flush(SyncSender<()>),
}

/// A writer that neither blocks nor fails.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    lines: Arc<SyncSender<Entry>>,
}

impl LogWriter {
    /// A writer to `sink`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn new(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUED_MAX);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(sink, &receiver))?;
        Ok(Self { lines: Arc::new(sender) })
    }

    /// Waits until all earlier lines are written, up to a second.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        // A full queue means that nobody reads, and waiting is useless.
        if self.lines.try_send(Entry::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// The number of log lines that this process lost.
pub(super) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

fn write_all(mut sink: impl Write, entries: &Receiver<Entry>) {
    while let Ok(entry) = entries.recv() {
        match entry {
            Entry::Line(line) => {
                if sink.write_all(&line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
            Entry::Flush(done) => {
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
    }
}

impl Write for LogWriter {
    /// Takes a whole line. Its foreign text is made printable here, in whatever format it is; colours keep their ESC, and that
    /// of foreign text is escaped before.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = printable::lines(&text, |char| char == '\u{1b}');
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(Entry::Line(text.into_owned().into_bytes()))
        {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use super::*;

    /// Keeps what is written, and blocks at one line until the test lets it go on.
    struct Slow(Arc<Barrier>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes == b"wait\n" {
                self.0.wait();
            }
            self.1.lock().expect("a lock").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_sink_that_blocks_or_fails_loses_lines_and_blocks_nobody() {
        let (barrier, written) = (Arc::new(Barrier::new(2)), Arc::<Mutex<Vec<u8>>>::default());
        let mut writer = LogWriter::new(Slow(Arc::clone(&barrier), Arc::clone(&written))).expect("a thread");
        writer.write_all(b"wait\n").expect("no error");
        let before = lost();
        for _ in 0..QUEUED_MAX + 100 {
            writer.write_all(b"line\n").expect("no error");
        }
        assert!(lost() - before >= 99, "{} lost", lost() - before);
        barrier.wait();
        // The queue empties; then the last line is not lost.
        while writer.lines.try_send(Entry::Line(b"last\n".to_vec())).is_err() {
            thread::yield_now();
        }
        LogWriter::flush(&writer);
        assert!(written.lock().expect("a lock").ends_with(b"last\n"));

        let before = lost();
        let mut writer = LogWriter::new(Full).expect("a thread");
        writer.write_all(b"line\n").expect("no error");
        LogWriter::flush(&writer);
        assert!(lost() > before);
    }

    #[test]
    fn foreign_text_in_a_line_is_printable() {
        let (barrier, written) = (Arc::new(Barrier::new(1)), Arc::<Mutex<Vec<u8>>>::default());
        let mut writer = LogWriter::new(Slow(barrier, Arc::clone(&written))).expect("a thread");
        let line = "\u{1b}[33mWARN\u{1b}[0m refused path=\u{9b}31m\u{202e}txt\u{200b}\u{7}\n";
        writer.write_all(line.as_bytes()).expect("no error");
        LogWriter::flush(&writer);
        let written = String::from_utf8(written.lock().expect("a lock").clone()).expect("text");
        // Our own colours stay.
        assert!(written.starts_with("\u{1b}[33mWARN\u{1b}[0m refused path="), "{written:?}");
        assert!(!written.trim_end().contains(['\u{9b}', '\u{202e}', '\u{200b}', '\u{7}']), "{written:?}");
        assert_eq!(written.lines().count(), 1);
    }
}
