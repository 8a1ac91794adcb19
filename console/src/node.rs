//! `netabase node`: a peer that runs until it is told to end.

use netabase::{Netabase, Role};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::NodeArguments;
use crate::connect::{DEFAULT_NETWORK, finish, open};
use crate::exit::Failure;
use crate::print;

/// The one line a node prints, when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The peer's id.
    pub(crate) peer_id: String,
    /// Addresses to join through.
    pub(crate) addresses: Vec<String>,
}

pub(crate) async fn run(mut arguments: NodeArguments) -> Result<(), Failure> {
    let peer = &mut arguments.peer;
    peer.network
        .get_or_insert_with(|| DEFAULT_NETWORK.to_owned());
    // Before the line is printed, so that no signal is missed.
    let ended = Ended::listen(arguments.stop_on_stdin_eof)?;
    let db = open(arguments.peer.builder(Role::Server)).await?;
    let worked = match announce(&db) {
        Ok(()) => {
            ended.wait().await;
            Ok(())
        }
        // Nobody reads the line; the peer is wanted all the same, unless it was the only reader.
        Err(Failure::ClosedPipe) if !arguments.stop_on_stdin_eof => {
            ended.wait().await;
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    finish(&db, worked).await
}

fn announce(db: &Netabase) -> Result<(), Failure> {
    let ready = Ready {
        peer_id: db.peer_id().to_owned(),
        addresses: db.addresses(),
    };
    let text = serde_json::to_string(&ready)
        .map_err(|e| Failure::Other(format!("the addresses cannot be printed: {e}")))?;
    print::line(&text)
}

/// Everything that ends a node.
struct Ended {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    input: Option<oneshot::Receiver<()>>,
}

impl Ended {
    fn listen(watch_input: bool) -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::io("cannot listen to signals", &e));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            input: watch_input.then(input_end).transpose()?,
        })
    }

    async fn wait(mut self) {
        let input = async {
            match self.input {
                Some(end) => {
                    // A reader that went away has nothing more to read either.
                    let _ = end.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = input => {}
        }
    }
}

/// Resolves when standard input ends. A thread reads it, because such a read cannot be cancelled;
/// it ends with the process.
fn input_end() -> Result<oneshot::Receiver<()>, Failure> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("netabase-stdin".into())
        .spawn(move || {
            // What arrives is of no interest; the end is.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            // The node may have ended for another reason.
            let _ = sender.send(());
        })
        .map_err(|e| Failure::io("cannot watch standard input", &e))?;
    Ok(receiver)
}
