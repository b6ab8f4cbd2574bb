//! The ids a call names: any text, in any order, some of them twice.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use uuid::Uuid;

use crate::payment::Skipped;

#[derive(Serialize)]
struct SkippedId<'a> {
    id: &'a str,
    reason: &'static str,
}

/// The ids of a call, in the order asked: any text, each judged once.
#[derive(Debug)]
pub(super) struct RequestedIds {
    asked: Vec<(String, Option<Uuid>)>,
    /// Those that are UUIDs, in order, each once.
    pub(super) distinct: Vec<Uuid>,
}

impl RequestedIds {
    pub(super) fn new(ids: Vec<String>) -> Self {
        let asked: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let uuid = Uuid::try_parse(&id).ok();
                (id, uuid)
            })
            .collect();
        let mut distinct: Vec<Uuid> = asked.iter().filter_map(|(_, uuid)| *uuid).collect();
        distinct.sort_unstable();
        distinct.dedup();
        Self { asked, distinct }
    }

    /// Those skipped, as the JSON array they are answered and kept as.
    pub(super) fn skipped(&self, reasons: Vec<(Uuid, Skipped)>) -> String {
        let reasons: HashMap<Uuid, Skipped> = reasons.into_iter().collect();
        let (mut ids, mut texts) = (HashSet::new(), HashSet::new());
        let skipped: Vec<SkippedId<'_>> = self
            .asked
            .iter()
            .filter_map(|(text, uuid)| {
                let first = uuid.map_or_else(|| texts.insert(text.as_str()), |uuid| ids.insert(uuid));
                let reason = match uuid {
                    _ if !first => Some(Skipped::Duplicate),
                    None => Some(Skipped::Unknown),
                    Some(uuid) => reasons.get(uuid).copied(),
                };
                reason.map(|reason| SkippedId {
                    id: text,
                    reason: reason.as_str(),
                })
            })
            .collect();
        // Strings always serialize.
        serde_json::to_string(&skipped).unwrap_or_else(|_| "[]".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_ids_come_back_in_the_order_asked_each_with_its_reason() {
        let [paid, fine, void] = [1, 2, 3].map(Uuid::from_u128);
        let asked = RequestedIds::new(vec![
            void.to_string(),
            "no\u{0}uuid".to_owned(),
            fine.to_string(),
            paid.to_string(),
            fine.simple().to_string(),
            "no\u{0}uuid".to_owned(),
        ]);
        assert_eq!(asked.distinct, [paid, fine, void]);
        let skipped = asked.skipped(vec![(paid, Skipped::Paid), (void, Skipped::Void)]);
        let skipped: serde_json::Value = serde_json::from_str(&skipped).unwrap();
        let expected = serde_json::json!([
            {"id": void.to_string(), "reason": "void"},
            {"id": "no\u{0}uuid", "reason": "unknown"},
            {"id": paid.to_string(), "reason": "paid"},
            {"id": fine.simple().to_string(), "reason": "duplicate"},
            {"id": "no\u{0}uuid", "reason": "duplicate"},
        ]);
        assert_eq!(skipped, expected);
    }
}
