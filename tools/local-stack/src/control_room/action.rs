//! The switches by name: each says in one sentence what it did.

use std::sync::Arc;

use local_stack::{Error, Result};
use serde::Deserialize;

use super::{Room, backup, bank, faults::Target, work};

/// What a call that pays many pays, unless it says how many.
const MANY: u32 = 100_000;

/// What some switches need to know beside their name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// How many.
    pub(super) count: Option<u32>,
}

/// `None` when there is no such switch.
pub(super) async fn act(room: &Arc<Room>, name: &str, wish: &Wish) -> Option<Result<String>> {
    let done = match name {
        "pay-one" => work::pay_one(room, work::PLAIN).await,
        "pay-declined" => work::pay_one(room, "4000.01").await,
        "pay-slow" => work::pay_one(room, "4000.03").await,
        "pay-failing" => work::pay_one(room, "4000.04").await,
        "pay-timeout-before" => work::pay_one(room, "4000.05").await,
        "pay-timeout-after" => work::pay_one(room, "4000.06").await,
        "trickle" => Ok(work::switch_trickle(room)),
        "pay-many" => work::pay_many(room, wish.count.unwrap_or(MANY).clamp(1, MANY)).await,
        "wipe-nats" => room.faults.wipe_nats(&room.stack),
        "bank-away" => bank::switch_away(room).await,
        "bank-slow" => bank::switch_slow(room).await,
        "bank-silent" => bank::switch_silent(room).await,
        "database-back" => backup::go_back(room).await,
        "charge-twice" => bank::switch_charged_twice(room).await,
        _ => {
            let (verb, target) = name.split_once('-')?;
            if verb == "cut" {
                return room.cuts.switch(&room.stack, target);
            }
            let target = Target::try_new(target)?;
            match verb {
                "kill" => Ok(room.faults.kill(&room.stack, target).await),
                "freeze" => room.faults.switch_frozen(&room.stack, target).await,
                _ => return None,
            }
        }
    };
    Some(done)
}

/// An error with its causes.
pub(super) fn in_words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
