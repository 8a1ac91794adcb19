//! The three peers of the demonstration.
//!
//! Each is a child process that ends when its standard input does, which the system closes even when
//! this process is killed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::exit::Failure;
use crate::node::Ready;

/// How many peers there are.
pub(crate) const PEERS: usize = 3;
/// How long a peer may take to be ready; with a folder that is kept, it reads its log first.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(120);
/// How long the peers may take to end before they are killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often an ending peer is looked at.
const STOP_STEP: Duration = Duration::from_millis(20);
/// Longest line that a peer prints when it is ready, in bytes.
const MAX_READY_LINE: u64 = 64 << 10;

/// Running peers; they end when this is dropped.
pub(crate) struct Peers {
    children: Vec<Child>,
    ready: Vec<Ready>,
}

impl Peers {
    /// Starts the peers one after the other; the later ones join through the first.
    pub(crate) async fn start(home: &Path, network: &str) -> Result<Self, Failure> {
        let mut peers = Self {
            children: Vec::new(),
            ready: Vec::new(),
        };
        for number in 1..=PEERS {
            let folder = home.join(format!("peer-{number}"));
            let ready = peers.start_one(&folder, network).await?;
            peers.ready.push(ready);
        }
        Ok(peers)
    }

    /// What the peers said when they were ready.
    pub(crate) fn ready(&self) -> &[Ready] {
        &self.ready
    }

    /// One address of each peer.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let first = |ready: &Ready| ready.addresses.first().cloned();
        self.ready.iter().filter_map(first).collect()
    }

    async fn start_one(&mut self, folder: &Path, network: &str) -> Result<Ready, Failure> {
        let log = folder.with_extension("log");
        let mut command = node_command(folder, network, &log)?;
        if let Some(first) = self.addresses().first() {
            command.arg("--bootstrap").arg(first);
        }
        let mut child = command
            .spawn()
            .map_err(|e| Failure::io("cannot start a peer", &e))?;
        let output = child.stdout.take();
        self.children.push(child);
        match tokio::time::timeout(START_LIMIT, ready_line(output)).await {
            Ok(Some(ready)) => Ok(ready),
            Ok(None) => Err(failed(folder, &log, "ended before it was ready")),
            Err(_) => Err(failed(folder, &log, "was not ready in time")),
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Its end is what they wait for.
            drop(child.stdin.take());
        }
        let limit = Instant::now() + STOP_LIMIT;
        for child in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() >= limit {
                    // A peer that is gone already needs no killing.
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(STOP_STEP);
            }
        }
    }
}

fn node_command(folder: &Path, network: &str, log: &Path) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|e| Failure::io("this program's file", &e))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|e| Failure::io(&format!("log {}", log.display()), &e))?;
    let mut command = Command::new(program);
    // Options in the environment are meant for this process.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NETABASE_") {
            command.env_remove(name);
        }
    }
    command
        .arg("node")
        .arg("--stop-on-stdin-eof")
        .args(["--network", network])
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C in the terminal is for the console; the peers end with it, not before.
        .process_group(0);
    Ok(command)
}

/// The line a peer prints when it is ready; `None` when it prints none. A thread reads it, because
/// such a read cannot be cancelled.
async fn ready_line(output: Option<ChildStdout>) -> Option<Ready> {
    let output = output?;
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("netabase-ready".into())
        .spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output.take(MAX_READY_LINE)).read_line(&mut line);
            // Where the line came too late, nobody waits for it.
            let _ = sender.send(read.map(|_| line));
        })
        .ok()?;
    let line = receiver.await.ok()?.ok()?;
    serde_json::from_str(&line).ok()
}

fn failed(folder: &Path, log: &Path, what: &str) -> Failure {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let last = said.lines().last().unwrap_or("nothing");
    let name = folder.file_name().map_or_else(PathBuf::new, PathBuf::from);
    Failure::Other(format!(
        "{} {what}; it said: {last} (all of it is in {})",
        name.display(),
        log.display()
    ))
}
