//! Where log lines go: to standard error, by a thread of its own.
//!
//! Whoever logs neither waits nor fails: with a full disk, a closed pipe or a reader that has stopped reading behind standard
//! error, lines are lost and counted, and everything else goes on.

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

/// Lines that wait to be written. More come only when nobody reads.
const WAITING_MAX: usize = 10_000;
/// How long the end of a process waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How many log lines of this process were lost.
static LOST: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Line(Vec<u8>),
    /// All before it has been written.
    Flushed(SyncSender<()>),
}

/// A writer that neither blocks nor fails.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    lines: Arc<SyncSender<Entry>>,
}

impl LogWriter {
    /// Writes to `sink`, each line whole.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn new(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(sink, &receiver))?;
        Ok(Self { lines: Arc::new(sender) })
    }

    /// Waits until all lines before are written, for a second at most.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        // With a full queue nobody reads, and nothing is to be waited for.
        if self.lines.try_send(Entry::Flushed(done)).is_ok() {
            let _ = written.recv_timeout(LAST_LINES);
        }
    }
}

/// How many log lines of this process were lost.
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
            Entry::Flushed(done) => {
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(Entry::Line(line.to_vec()))
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

    /// Keeps what is written, after it was let go on.
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
    fn a_sink_that_blocks_or_fails_costs_lines_and_nobody_waits() {
        let (barrier, written) = (Arc::new(Barrier::new(2)), Arc::<Mutex<Vec<u8>>>::default());
        let mut writer = LogWriter::new(Slow(Arc::clone(&barrier), Arc::clone(&written))).expect("a thread");
        writer.write_all(b"wait\n").expect("no error");
        let before = lost();
        for _ in 0..WAITING_MAX + 100 {
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
}
