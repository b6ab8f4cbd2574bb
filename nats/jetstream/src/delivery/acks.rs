//! Turns verdicts into acks: done, not now, or a dead letter that is committed before its message is terminated.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_nats::jetstream::AckKind;
use futures_util::FutureExt as _;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::{DeadLetter, Decision, GATHER_ACKS, Handler, Token, Verdict, consumer_loop::ConsumerLoop};
use crate::steps::Step;

/// Verdicts looked at together; dead letters among them are stored together.
const TOGETHER: usize = 256;
/// On shutdown, dead letters found last have this long to be stored; otherwise they come again.
const LAST_DEAD_LETTERS: Duration = Duration::from_secs(2);

impl<H: Handler> ConsumerLoop<H> {
    /// Turns verdicts into acks until `finish` is cancelled and none is left, then waits for the last dead letters.
    pub(super) async fn send_acks(
        self: &Arc<Self>,
        mut decided: UnboundedReceiver<(Token, Verdict)>,
        finish: CancellationToken,
    ) {
        let mut verdicts = Vec::with_capacity(TOGETHER);
        loop {
            tokio::select! {
                biased;
                _ = decided.recv_many(&mut verdicts, TOGETHER) => {
                    if verdicts.len() < TOGETHER && self.has_time() {
                        let _ = finish.run_until_cancelled(tokio::time::sleep(GATHER_ACKS)).await;
                        while verdicts.len() < TOGETHER && let Ok(verdict) = decided.try_recv() {
                            verdicts.push(verdict);
                        }
                    }
                    self.ack_all(&mut verdicts).await;
                }
                () = finish.cancelled() => break,
            }
        }
        self.drain(LAST_DEAD_LETTERS).await;
    }

    /// Whether so little is in flight that its slots are hardly missed.
    fn has_time(&self) -> bool {
        self.in_flight.len() < self.settings.slots / 4
    }

    async fn ack_all(self: &Arc<Self>, verdicts: &mut Vec<(Token, Verdict)>) {
        let mut letters = Vec::new();
        for (token, verdict) in verdicts.drain(..) {
            match verdict {
                Verdict::Decided(Decision::Done) => self.close(token, AckKind::Ack, "done").await,
                Verdict::Decided(Decision::Retry(delay)) => self.close(token, nak(delay), "retry").await,
                Verdict::Decided(Decision::Reject(reason)) => {
                    if let Some(origin) = self.in_flight.begin_dead_lettering(token) {
                        letters.push((token, DeadLetter { reason, origin }));
                    }
                }
                Verdict::Undecided => {
                    let delay = self.retry_delay(self.in_flight.delivered(token).unwrap_or(1));
                    self.close(token, nak(delay), "undecided").await;
                }
            }
        }
        if !letters.is_empty() {
            self.dead_letter(letters);
        }
    }

    async fn close(&self, token: Token, ack: AckKind, decision: &'static str) {
        if self.in_flight.is_open(token) {
            self.acknowledge(token, ack, decision).await;
        }
    }

    /// Keeps dead letters and then terminates their messages; when they cannot be kept, the messages come again.
    fn dead_letter(self: &Arc<Self>, letters: Vec<(Token, DeadLetter)>) {
        let consumer_loop = Arc::clone(self);
        self.under_way.spawn(async move {
            let (tokens, letters): (Vec<_>, Vec<_>) = letters.into_iter().unzip();
            for letter in &letters {
                tracing::warn!(
                    nats.subject = letter.origin.subject,
                    nats.sequence = letter.origin.stream_sequence,
                    reason = letter.kind(),
                    "a message cannot be handled; keeping it as a dead letter"
                );
            }
            Step::DeadLettersStoring.reached();
            let dead_lettering = AssertUnwindSafe(consumer_loop.handler.dead_letter(letters)).catch_unwind();
            let failure = tokio::select! {
                stored = dead_lettering => match stored {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_) => Some("panicked".to_owned()),
                },
                () = consumer_loop.give_up.cancelled() => Some("given up".to_owned()),
            };
            Step::DeadLettersStored.reached();
            if let Some(error) = &failure {
                tracing::error!(
                    nats.stream = consumer_loop.consumer.stream,
                    messages = tokens.len(),
                    error,
                    "dead letters could not be stored; their messages are delivered again"
                );
            }
            for token in tokens {
                let delivered = consumer_loop.in_flight.delivered(token).unwrap_or(1);
                if failure.is_none() {
                    consumer_loop.acknowledge(token, AckKind::Term, "rejected").await;
                } else {
                    let retry = nak(consumer_loop.retry_delay(delivered));
                    consumer_loop.acknowledge(token, retry, "not_stored").await;
                }
            }
        });
    }
}

pub(super) fn nak(delay: Duration) -> AckKind {
    AckKind::Nak(Some(delay).filter(|delay| !delay.is_zero()))
}
