//! `netabase counters`: what a peer has done.

use netabase::Netabase;

use crate::args::CounterArguments;
use crate::connect::finish;
use crate::exit::Failure;
use crate::print;

pub(crate) async fn run(arguments: CounterArguments) -> Result<(), Failure> {
    let db = arguments.peer.open_client().await?;
    let worked = show(&db, arguments.id.as_deref()).await;
    finish(&db, worked).await
}

async fn show(db: &Netabase, peer: Option<&str>) -> Result<(), Failure> {
    let counters = match peer {
        Some(peer) => db.peer_counters(peer).await?,
        None => db.counters(),
    };
    let text = serde_json::to_string(&counters)
        .map_err(|e| Failure::Other(format!("the counters cannot be printed: {e}")))?;
    print::line(&text)
}
