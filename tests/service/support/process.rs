use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use super::{eventually, http_client};

#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Asks it to drain and end.
    Terminate,
    /// As Ctrl-C does.
    Interrupt,
    Kill,
    /// Freezes it, as a machine that sleeps would.
    Stop,
    Continue,
}

/// The real `feebox` with a working directory of its own, killed when dropped. Waiting is async, so that what the test
/// itself serves stays alive meanwhile.
pub struct Process {
    child: Mutex<Child>,
    id: u32,
    lines: Arc<Mutex<Vec<String>>>,
    readers: [JoinHandle<()>; 2],
    directory: TempDir,
}

impl Process {
    /// Starts `feebox ARGS…` with `env` and without any setting of the machine's.
    pub fn start(args: &[&str], env: &[(&str, &str)]) -> Process {
        Process::start_by(Command::new(env!("CARGO_BIN_EXE_feebox")), args, env)
    }

    /// Starts the example `name`, which cargo builds with the tests.
    pub fn start_example(name: &str, args: &[&str], env: &[(&str, &str)]) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_feebox")).with_file_name("examples").join(name);
        assert!(program.exists(), "{} is built by `cargo build --examples`", program.display());
        Process::start_by(Command::new(program), args, env)
    }

    /// Starts `feebox` where a file that reaches the process's limit of size is an error and not its end.
    pub fn start_with_limited_files(args: &[&str], env: &[(&str, &str)]) -> Process {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_feebox")]);
        Process::start_by(shell, args, env)
    }

    /// The same by another program, which becomes it: `WRAPPER… feebox ARGS…`.
    pub fn start_wrapped(wrapper: &[&str], args: &[&str], env: &[(&str, &str)]) -> Process {
        let words: Vec<&str> = wrapper.iter().chain([&env!("CARGO_BIN_EXE_feebox")]).copied().collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        Process::start_by(command, args, env)
    }

    fn start_by(mut command: Command, args: &[&str], env: &[(&str, &str)]) -> Process {
        let directory = tempfile::Builder::new().prefix("feebox-process.").tempdir().unwrap();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FEEBOX") || name == "DATABASE_URL" || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(args)
            .envs(env.iter().copied())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::default();
        let readers = [collect(child.stdout.take().unwrap(), &lines), collect(child.stderr.take().unwrap(), &lines)];
        Process { id: child.id(), child: Mutex::new(child), lines, readers, directory }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its working directory, for files that it left.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has written so far, both streams as they came.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The first line that fits, written before or from now on.
    pub async fn wait_for_line(&self, limit: Duration, fits: impl Fn(&str) -> bool) -> String {
        self.wait_for("a line that fits", limit, async || {
            self.lines.lock().unwrap().iter().find(|line| fits(line)).cloned()
        })
        .await
    }

    /// Returns when `GET {base_url}/readyz` answers 200.
    pub async fn wait_ready(&self, base_url: &str, limit: Duration) {
        let client = http_client();
        let url = format!("{base_url}/readyz");
        self.wait_for(&url, limit, async || {
            let answer = client.get(&url).timeout(Duration::from_secs(5)).send().await;
            answer.is_ok_and(|answer| answer.status() == 200).then_some(())
        })
        .await;
    }

    /// How it ended. Then `lines` is complete.
    pub async fn wait(&self, limit: Duration) -> ExitStatus {
        eventually("the end of feebox", limit, async || self.ended()).await
    }

    /// How it ended, if it has and all that it wrote is in `lines`.
    pub fn ended(&self) -> Option<ExitStatus> {
        if !self.readers.iter().all(JoinHandle::is_finished) {
            return None;
        }
        self.child.lock().unwrap().try_wait().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        // Held while the signal is sent: nobody else can collect the process, so its id is not given to another.
        let mut child = self.child.lock().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "feebox has ended: {:#?}", self.lines());
        let name = match signal {
            Signal::Terminate => "TERM",
            Signal::Interrupt => "INT",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        };
        // The shell has its own `kill`; the program is not on every machine.
        let kill = format!("kill -s {name} {}", self.id);
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// `eventually`, which also ends when the process does: then it can come to nothing any more.
    async fn wait_for<T>(&self, what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        eventually(what, limit, async || {
            let ended = self.ended();
            let found = probe().await;
            let lines = self.lines();
            assert!(found.is_some() || ended.is_none(), "{what}: feebox ended first: {lines:#?}");
            found
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        if thread::panicking() {
            eprintln!("feebox {} wrote: {:#?}", self.id, self.lines());
        }
    }
}

fn collect(stream: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    })
}
