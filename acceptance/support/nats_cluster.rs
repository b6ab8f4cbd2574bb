//! What the servers of a cluster say about themselves: who leads a stream, and whether every copy of it is whole.

use local_stack::{NatsServer, Stack};
use serde_json::Value;

use crate::{Error, Result, client::text, eventually, streams::stream_detail};

/// The server that itself says that it leads this stream. A follower would name the old one for a while.
pub async fn leader<'a>(stack: &'a Stack, stream: &str) -> Result<&'a NatsServer> {
    eventually(&format!("somebody leads {stream}"), || async {
        for server in stack.nats_servers().iter() {
            // One that is down leads nothing.
            let Ok(Some(detail)) = stream_detail(server, stream).await else {
                continue;
            };
            if text(&detail, "/cluster/leader") == server.program().spec().name {
                return Ok(Some(server));
            }
        }
        Ok(None)
    })
    .await
}

/// Waits until each stream has a leader and two copies beside it that lack nothing.
pub async fn all_copies_whole(stack: &Stack, streams: &[&str]) -> Result<()> {
    for stream in streams {
        eventually(&format!("every copy of {stream} is whole"), || async {
            let detail = stream_detail(leader(stack, stream).await?, stream).await?;
            let detail = detail.ok_or_else(|| Error::new("the leader lost it"))?;
            let replicas = detail.pointer("/cluster/replicas").and_then(Value::as_array);
            let current =
                |replica: &&Value| replica.pointer("/current").and_then(Value::as_bool) == Some(true);
            let whole = replicas.map_or(0, |replicas| replicas.iter().filter(current).count());
            Ok(whole == 2)
        })
        .await?;
    }
    Ok(())
}
