//! Work that is done again and again beside everything else: gauges, pruning, looks for what changed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Does `work` at once and then after each `pause`, until `stop`; what is under way then is dropped.
pub async fn every<Once: Future<Output = ()>>(
    pause: Duration,
    stop: CancellationToken,
    mut work: impl FnMut() -> Once,
) {
    let repeated = async {
        loop {
            work().await;
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(repeated).await;
}
