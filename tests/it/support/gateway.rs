//! A gateway process with its configuration in a directory of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;

use serde_json::Value;

use super::{Client, Reply, eventually};

/// A running gateway; killed when it is dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) data: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) dir: tempfile::TempDir,
    log: Arc<Mutex<String>>,
}

impl Gateway {
    /// Starts with `config` and two workers, on free ports, and waits until it is ready.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    /// The same in a directory that exists, as after a restart.
    pub(crate) fn start_in(dir: tempfile::TempDir, config: &str) -> Self {
        Self::start_by(dir, config, &[])
    }

    /// The same with these variables in its environment.
    pub(crate) fn start_by(
        dir: tempfile::TempDir,
        config: &str,
        environment: &[(&str, PathBuf)],
    ) -> Self {
        let mut gateway = Self::spawn_by(dir, config, environment);
        gateway.read_addresses();
        eventually("the gateway is ready", || {
            let mut client = Client::try_connect(gateway.admin)?;
            client.send("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n");
            (client.reply().status == 200).then_some(())
        });
        gateway
    }

    /// Starts without waiting for anything.
    pub(crate) fn spawn(dir: tempfile::TempDir, config: &str) -> Self {
        Self::spawn_by(dir, config, &[])
    }

    fn spawn_by(dir: tempfile::TempDir, config: &str, environment: &[(&str, PathBuf)]) -> Self {
        let file = dir.path().join("pointsman.toml");
        std::fs::write(&file, with_defaults(config)).unwrap();
        let mut run = command(&["run"], &file);
        run.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = lines.lock();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let nowhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        Self { child, data: nowhere, admin: nowhere, dir, log }
    }

    fn read_addresses(&mut self) {
        let (data, admin) = eventually("the start is logged", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the gateway ended with {status}:\n{}", self.log());
            }
            self.log().lines().find_map(|line| {
                let row: Value = serde_json::from_str(line).ok()?;
                let address = |name: &str| row.get(name)?.as_str()?.parse().ok();
                Some((address("listen")?, address("admin")?))
            })
        });
        (self.data, self.admin) = (data, admin);
    }

    /// What the gateway has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// A new client connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.data)
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, text: &str) -> Reply {
        let mut client = self.client();
        client.send(text);
        client.reply()
    }

    /// `POST path` with a body.
    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.request(&super::client::post(path, "", body))
    }

    /// Asks the admin listener.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let mut client = Client::connect(self.admin);
        let length = body.len();
        client.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        client.reply()
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        let mut client = Client::connect(self.admin);
        client.send("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n");
        String::from_utf8(client.reply().body).unwrap()
    }

    /// The value of one series.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        value_of(&text, series).unwrap_or_else(|| panic!("no {series} in\n{text}"))
    }

    /// Waits until a series has this value: an answer can come a moment before it is counted.
    pub(crate) fn metric_is(&self, series: &str, value: f64) {
        let is = |found: f64| found.to_bits() == value.to_bits();
        self.wait_for_metric(&format!("{series} is {value}"), series, is);
    }

    /// Waits until a series has at least this value.
    pub(crate) fn metric_reaches(&self, series: &str, value: f64) {
        self.wait_for_metric(&format!("{series} reaches {value}"), series, |found| found >= value);
    }

    fn wait_for_metric(&self, what: &str, series: &str, fits: impl Fn(f64) -> bool) {
        eventually(what, || {
            value_of(&self.metrics(), series).filter(|found| fits(*found)).map(drop)
        });
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the gateway ends", || self.child.try_wait().unwrap())
    }

    /// SIGTERM and the end; the exit code must be 0.
    pub(crate) fn stop(mut self) -> tempfile::TempDir {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", self.log());
        self.into_dir()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        self.signal(rustix::process::Signal::KILL);
        self.wait();
        self.into_dir()
    }

    fn into_dir(mut self) -> tempfile::TempDir {
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// The records of the log so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        records(self.dir.path())
    }

    /// Waits for `count` records and returns them.
    pub(crate) fn wait_for_records(&self, count: usize) -> Vec<Value> {
        eventually("the records are written", || {
            let records = self.records();
            (records.len() >= count).then_some(records)
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already in the tests that end it.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}---", self.log());
        }
    }
}

/// The records of a gateway's directory, by `log tail`.
pub(crate) fn records(dir: &Path) -> Vec<Value> {
    let file = dir.join("pointsman.toml");
    let output =
        command(&["log", "tail", "-n", "1000000", "--format", "json"], &file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a command to its end with `config` as the file.
pub(crate) fn run(arguments: &[&str], config: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), arguments, config)
}

/// The same in a directory.
pub(crate) fn run_in(dir: &Path, arguments: &[&str], config: &str) -> Output {
    let file: PathBuf = dir.join("pointsman.toml");
    std::fs::write(&file, config).unwrap();
    let mut child = command(arguments, &file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = eventually("the command ends", || child.try_wait().unwrap());
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    child.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
    output
}

/// Runs a command to its end with the configuration that a gateway in `dir` was started with.
pub(crate) fn command_in(dir: &Path, arguments: &[&str]) -> Output {
    command(arguments, &dir.join("pointsman.toml")).stdin(Stdio::null()).output().unwrap()
}

fn command(arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(arguments).arg("-c").arg(file);
    command
}

/// Free ports, two workers, and log lines that a test can read.
pub(crate) fn with_defaults(config: &str) -> String {
    let mut text = String::new();
    for (key, value) in [
        ("listen", "\"127.0.0.1:0\""),
        ("admin", "\"127.0.0.1:0\""),
        ("data_dir", "\"data\""),
        ("workers", "2"),
    ] {
        let given = config.lines().any(|line| line.starts_with(&format!("{key} =")));
        if !given {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text.push_str(config);
    text.push_str("\n[telemetry]\nformat = \"json\"\n");
    text
}

/// The value of a series in the text of `/metrics`.
fn value_of(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}
