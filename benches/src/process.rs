//! Other processes of this program, memory and disk.
//!
//! Purpose: what would be counted twice, or must be killed, runs in a process of its own, which
//! speaks in lines.
//! Invariant: a process that was started here ends with its handle.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::Failure;
use crate::arguments::Settings;

/// Lines of another process that may wait to be read.
const WAITING_LINES: usize = 16;
/// Bytes of the MB in figures.
pub(crate) const MB: f64 = 1_000_000.0;

/// Where benchmarks keep what they make: beside the build, so that it is on a real disk and goes
/// with it.
pub(crate) fn cache_folder(settings: &Settings) -> Result<PathBuf, Failure> {
    let folder = match &settings.data {
        Some(folder) => folder.clone(),
        None => {
            let program = std::env::current_exe()?;
            let target = program.ancestors().nth(2);
            target.ok_or("this program has no folder")?.join("benches")
        }
    };
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// An empty folder on the same disk, gone when the benchmark ends.
pub(crate) fn scratch_folder(settings: &Settings) -> Result<TempDir, Failure> {
    Ok(TempDir::with_prefix_in(
        "scratch-",
        cache_folder(settings)?,
    )?)
}

/// This program again, with other arguments.
pub(crate) fn this_program() -> Result<Command, Failure> {
    Ok(Command::new(std::env::current_exe()?))
}

/// Bytes of all files beneath a folder.
pub(crate) fn folder_bytes(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) => bytes += data.len(),
                // A store that works meanwhile removes files.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(bytes)
}

/// Resident memory of a process now, in MB; of this one without an id.
pub(crate) fn resident_mb(process: Option<u32>) -> Result<f64, Failure> {
    status_mb(process, "VmRSS:")
}

/// The most resident memory that this process has had, in MB.
pub(crate) fn peak_mb() -> Result<f64, Failure> {
    status_mb(None, "VmHWM:")
}

fn status_mb(process: Option<u32>, field: &str) -> Result<f64, Failure> {
    let name = process.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let text = std::fs::read_to_string(format!("/proc/{name}/status"))?;
    field_mb(&text, field).ok_or_else(|| format!("the system does not tell {field}").into())
}

/// A field of a status file, which counts in units of 1024 bytes.
fn field_mb(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let units: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(units * 1024.0 / MB)
}

/// A process that is asked and answers line by line. Killed when dropped.
pub(crate) struct Talker {
    child: Child,
    input: ChildStdin,
    lines: Receiver<std::io::Result<String>>,
}

impl Talker {
    pub(crate) fn start(mut command: Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).ok_or("a process without pipes")?;
        let (sender, lines) = sync_channel(WAITING_LINES);
        // Ends with the process's output, or with the receiver.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            input,
            lines,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }

    /// The next line, or why there is none.
    pub(crate) fn line(&self, deadline: Duration) -> Result<String, Failure> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => Ok(line?),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("no answer within {} s", deadline.as_secs()).into())
            }
            Err(RecvTimeoutError::Disconnected) => Err("the process ended early".into()),
        }
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // It may have ended already, and nothing depends on how.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_field_is_read() {
        let text = "Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n";
        assert_eq!(field_mb(text, "VmRSS:"), Some(1.024));
        assert_eq!(field_mb(text, "VmSwap:"), None);
    }

    #[test]
    fn folders_count_with_what_is_beneath() {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("a"), [0; 3]).unwrap();
        std::fs::write(folder.path().join("in/b"), [0; 4]).unwrap();
        assert_eq!(folder_bytes(folder.path()).unwrap(), 7);
    }
}
