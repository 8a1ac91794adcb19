//! Peers as processes of their own, run by the console's binary.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_netabase")
}

/// A peer in a process of its own; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) id: String,
    pub(crate) address: String,
}

impl Peer {
    pub(crate) fn start(network: &str, data_dir: &Path, bootstrap: &[String]) -> Self {
        let mut command = Command::new(binary());
        command
            .arg("node")
            .args(["--network", network, "--role", "server"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
            .arg("--data-dir")
            .arg(data_dir);
        for address in bootstrap {
            command.args(["--bootstrap", address]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("a peer did not start: {e}: {line:?}"));
        let address = ready["addresses"][0].as_str().unwrap().to_string();
        Self {
            child,
            id: ready["peer_id"].as_str().unwrap().to_string(),
            address,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(binary())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Three peers as processes, each with a folder in `dir`.
pub(crate) fn three(network: &str, dir: &Path) -> Vec<Peer> {
    let mut peers: Vec<Peer> = Vec::new();
    for i in 0..3 {
        let bootstrap: Vec<String> = peers
            .first()
            .map(|p| p.address.clone())
            .into_iter()
            .collect();
        peers.push(Peer::start(network, &dir.join(i.to_string()), &bootstrap));
    }
    peers
}
