//! The steps of a message on its way, told to a test that hooks in: it makes the process die there. Nobody hears of them in
//! release builds.

#[cfg(debug_assertions)]
use std::sync::OnceLock;

/// A step of a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Messages have arrived; nothing is done about them.
    MessagesTaken,
    /// A message is done; it is not acknowledged.
    MessageAcking,
    /// It is acknowledged, if the acknowledgement still leaves the process.
    MessageAcked,
    /// A message is about to be given back, to come again later.
    MessagePuttingOff,
    /// It is given back.
    MessagePutOff,
    /// Dead letters are about to be kept.
    DeadLettersStoring,
    /// They are kept; their messages are not terminated.
    DeadLettersStored,
    /// A kept message is about to be terminated.
    MessageTerminating,
    /// It is terminated.
    MessageTerminated,
    /// Messages have left the process; the stream has not confirmed them.
    MessagesUnconfirmed,
}

impl Step {
    /// Every step.
    pub const ALL: &[Self] = &[
        Self::MessagesTaken,
        Self::MessageAcking,
        Self::MessageAcked,
        Self::MessagePuttingOff,
        Self::MessagePutOff,
        Self::DeadLettersStoring,
        Self::DeadLettersStored,
        Self::MessageTerminating,
        Self::MessageTerminated,
        Self::MessagesUnconfirmed,
    ];

    /// What tests and reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessagesTaken => "messages.taken",
            Self::MessageAcking => "message.acking",
            Self::MessageAcked => "message.acked",
            Self::MessagePuttingOff => "message.putting_off",
            Self::MessagePutOff => "message.put_off",
            Self::DeadLettersStoring => "dead_letters.storing",
            Self::DeadLettersStored => "dead_letters.stored",
            Self::MessageTerminating => "message.terminating",
            Self::MessageTerminated => "message.terminated",
            Self::MessagesUnconfirmed => "messages.unconfirmed",
        }
    }

    /// Before the acknowledgement that makes this decision known; `done` and `rejected` are the final ones.
    pub(crate) fn before_ack(decision: &str) -> Self {
        match decision {
            "done" => Self::MessageAcking,
            "rejected" => Self::MessageTerminating,
            _ => Self::MessagePuttingOff,
        }
    }

    /// After it.
    pub(crate) fn after_ack(decision: &str) -> Self {
        match decision {
            "done" => Self::MessageAcked,
            "rejected" => Self::MessageTerminated,
            _ => Self::MessagePutOff,
        }
    }

    pub(crate) fn reached(self) {
        #[cfg(debug_assertions)]
        if let Some(hook) = HOOK.get() {
            hook(self.name());
        }
    }
}

#[cfg(debug_assertions)]
static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

/// From now on `hook` is told the name of each step. The first one stays.
#[cfg(debug_assertions)]
pub fn hook(hook: fn(&'static str)) {
    let _ = HOOK.set(hook);
}
