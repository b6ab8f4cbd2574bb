//! How times look in JSON: RFC 3339 in UTC with six decimals always, the precision Postgres keeps.

use std::fmt;

use serde::{Deserialize, Deserializer, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// Shows a time as `2026-01-02T03:04:05.000678Z`.
#[derive(Clone, Copy, Debug)]
pub struct Display(pub OffsetDateTime);

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = self.0.to_offset(UtcOffset::UTC);
        let (year, month, day) = (utc.year(), u8::from(utc.month()), utc.day());
        let (hour, minute, second, micros) = utc.to_hms_micro();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

/// For `#[serde(with = "timestamp")]`.
pub fn serialize<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Display(*time))
}

/// For `#[serde(with = "timestamp")]`: any RFC 3339 time, of any offset and precision, whose year in UTC has four digits.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339)
        .ok()
        // Checked: `to_offset` panics where the offset leads out of the years there are.
        .and_then(|time| time.checked_to_offset(UtcOffset::UTC))
        .filter(|utc| utc.year() >= 0)
        .ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_shown_in_utc_with_six_decimals() {
        for (time, shown) in [
            (datetime!(2026-01-02 03:04:05 UTC), "2026-01-02T03:04:05.000000Z"),
            (
                datetime!(2026-01-02 03:04:05.000678999 UTC),
                "2026-01-02T03:04:05.000678Z",
            ),
            (
                datetime!(2026-01-02 01:04:05.5 +02:00),
                "2026-01-01T23:04:05.500000Z",
            ),
        ] {
            assert_eq!(Display(time).to_string(), shown);
        }
    }

    #[test]
    fn times_of_any_offset_and_precision_are_read() {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(with = "super")]
            at: OffsetDateTime,
        }
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T04:04:05.000+01:00",
            "2026-01-02T03:04:05.000000000Z",
        ] {
            let wire: Wire = serde_json::from_str(&format!(r#"{{"at":"{text}"}}"#)).unwrap();
            assert_eq!(wire.at, datetime!(2026-01-02 03:04:05 UTC), "{text}");
        }
        for text in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05",
            "1767323045",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
            "-0001-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
        ] {
            assert!(
                serde_json::from_str::<Wire>(&format!(r#"{{"at":"{text}"}}"#)).is_err(),
                "{text}"
            );
        }
    }
}
