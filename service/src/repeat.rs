//! Work that is done again and again beside everything else: gauges, pruning, looks for what changed.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Does `step` at once and then after each `pause`, until `stop`; what is under way then is dropped.
pub async fn every<Step: Future<Output = ()>>(
    pause: Duration,
    stop: CancellationToken,
    mut step: impl FnMut() -> Step,
) {
    let repeated = async {
        loop {
            step().await;
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(repeated).await;
}
