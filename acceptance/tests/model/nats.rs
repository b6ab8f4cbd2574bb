//! NATS: two streams that may deliver any message at any time, twice, in any order, or forget it.

use bytes::Bytes;

/// One stream with its durable.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    messages: Vec<Message>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Message {
    sequence: u64,
    body: Bytes,
}

impl Stream {
    pub(crate) fn publish(&mut self, body: Bytes) {
        self.last += 1;
        self.messages.push(Message {
            sequence: self.last,
            body,
        });
    }

    /// How many are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Delivers one. It stays until it is acknowledged, so that it may come again, also while somebody has it in flight.
    pub(crate) fn deliver(&self, index: usize) -> Option<(u64, Bytes)> {
        self.messages
            .get(index)
            .map(|message| (message.sequence, message.body.clone()))
    }

    /// Acknowledged, once and for all.
    pub(crate) fn ack(&mut self, sequence: u64) {
        self.messages.retain(|message| message.sequence != sequence);
    }

    pub(crate) fn lose(&mut self, index: usize) {
        if index < self.messages.len() {
            self.messages.remove(index);
        }
    }

    pub(crate) fn forget(&mut self) {
        self.messages.clear();
    }
}
