//! From options to an open database.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use netabase::{Builder, Netabase, Role};

use crate::args::{PeerOptions, RoleArgument};
use crate::exit::Failure;

/// The network that is used when addresses are given without a name.
pub(crate) const DEFAULT_NETWORK: &str = "default";
/// How long a client waits for its first peer after it has joined.
const FIRST_PEER: Duration = Duration::from_secs(10);

impl PeerOptions {
    /// Whether the options make this a peer of a network.
    pub(crate) fn is_networked(&self) -> bool {
        self.network.is_some() || self.mdns || !self.bootstrap.is_empty() || !self.listen.is_empty()
    }

    /// The options as a builder; `role` where none is given.
    pub(crate) fn builder(&self, role: Role) -> Builder {
        let mut builder = Netabase::builder().drop_gossip(self.drop_gossip);
        if let Some(folder) = &self.data_dir {
            builder = builder.data_dir(folder);
        }
        if let Some(backend) = self.backend {
            builder = builder.index_backend(backend);
        }
        if let Some(time) = self.deadline {
            builder = builder.deadline(time).join_timeout(time);
        }
        if !self.is_networked() {
            return builder;
        }
        builder = builder
            .network(self.network.as_deref().unwrap_or(DEFAULT_NETWORK))
            .mdns(self.mdns)
            .role(match self.role {
                Some(RoleArgument::Server) => Role::Server,
                Some(RoleArgument::Client) => Role::Client,
                None => role,
            });
        builder = self.listen.iter().fold(builder, Builder::listen);
        self.bootstrap.iter().fold(builder, Builder::bootstrap)
    }

    /// Opens the database as a client; with somebody to join, waits for the first peer.
    pub(crate) async fn open_client(&self) -> Result<Netabase, Failure> {
        let db = open(self.builder(Role::Client)).await?;
        if self.mdns || !self.bootstrap.is_empty() {
            let wait = self.deadline.unwrap_or(FIRST_PEER);
            if let Err(error) = db.wait_for_peers(1, wait).await {
                let _ = db.close().await;
                return Err(error.into());
            }
        }
        Ok(db)
    }
}

/// Opens a database; a long replay of its log shows its progress on a terminal.
pub(crate) async fn open(builder: Builder) -> Result<Netabase, Failure> {
    if !std::io::stderr().is_terminal() {
        return Ok(builder.open().await?);
    }
    let bar = progress_bar("opening", "{bytes}/{total_bytes}");
    let shown = bar.clone();
    let opened = builder
        .progress(move |done, total| {
            shown.set_length(total);
            shown.set_position(done);
        })
        .open()
        .await;
    bar.finish_and_clear();
    Ok(opened?)
}

/// A bar on standard error; hidden where that is not a terminal.
pub(crate) fn progress_bar(label: &str, numbers: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = format!("{{msg:12}} {{bar:32}} {numbers} {{eta}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar
}

/// Ends the database after the work; the work's failure is told first.
pub(crate) async fn finish(db: &Netabase, worked: Result<(), Failure>) -> Result<(), Failure> {
    let closed = db.close().await;
    worked?;
    Ok(closed?)
}

/// Tells the user something that is not a result.
pub(crate) fn note(text: impl std::fmt::Display) {
    // Where standard error is closed, nobody wants to know.
    let _ = writeln!(std::io::stderr(), "{text}");
}
