//! The table as a picture: rates beside each other, how long a single payment takes at which rate, and beside what. Drawn from
//! `bench.json`, so that it can be drawn anew without measuring anew; what was not measured is left out.

mod latency;
mod panel;
mod rates;
mod waits;

use charts::Picture;
use serde_json::Value;

use self::panel::{MARGIN, WIDTH};

/// Between the panels.
const GAP: f64 = 30.0;

/// Draws below a place and tells where it ends; `None` when there is nothing to draw.
type Panel = fn(&mut Picture, &Value, f64) -> Option<f64>;

/// Draws what `bench.json` tells.
pub fn draw(told: &Value) -> String {
    let mut picture = Picture::new(
        WIDTH,
        "The benchmark in pictures",
        "Rates of the original, the limits, this system and its peers; latency of single payments by rate and beside other loads. \
         The same figures are in the table of docs/performance.md.",
    );
    picture.text((MARGIN, 30.0), "title", "Payments, measured");
    picture.text((MARGIN, 50.0), "muted", &origin(told));
    let panels: [Panel; 3] = [rates::draw, latency::draw, waits::draw];
    let mut bottom = 52.0;
    for panel in panels {
        bottom = panel(&mut picture, told, bottom + GAP).unwrap_or(bottom);
    }
    picture.finish(bottom + MARGIN)
}

/// Where and when.
fn origin(told: &Value) -> String {
    let fact = |name: &str| {
        told.pointer(&format!("/machine/{name}"))
            .cloned()
            .unwrap_or_default()
    };
    let text = |name: &str| fact(name).as_str().unwrap_or_default().to_owned();
    let day = text("date");
    let day = day.split('T').next().unwrap_or_default();
    let cores = fact("cores").as_u64();
    let parts = [
        cores.map_or_else(String::new, |cores| format!("{cores} cores")),
        text("processor"),
        day.to_owned(),
        text("commit"),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told() -> Value {
        let figure = |median: f64| json!({"median": median, "min": median * 0.9, "max": median * 1.1});
        json!({
            "machine": {"cores": 2, "processor": "Some <CPU>", "date": "2026-11-27T10:56:20Z", "commit": "abc"},
            "figures": {
                "original": figure(4000.0), "pay_all": figure(6000.0), "peer.pgmq": figure(3000.0),
                "mixed.alone.p50": figure(5.0), "mixed.alone.p95": figure(9.0), "mixed.alone.p99": figure(20.0),
            },
            "details": {"pay_each": [
                {"rate": 250.0, "p50": 5.0, "p99": 17.0, "kept_up": true},
                {"rate": 1000.0, "p50": 20.0, "p99": 60.0, "kept_up": true},
                {"rate": 2000.0, "p50": 900.0, "p99": 2000.0, "kept_up": false},
            ]},
        })
    }

    #[test]
    fn everything_that_was_measured_is_in_the_picture() {
        let svg = draw(&told());
        for words in [
            "2 cores · Some &lt;CPU&gt; · 2026-11-27 · abc",
            "4,000",
            "6,000",
            "1.50×",
            "pgmq",
            "2.00×",
            "too much at 2,000",
        ] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let height = |svg: &str| -> f64 {
            let height = svg.split(r#"height=""#).nth(1).unwrap();
            height.split('"').next().unwrap().parse().unwrap()
        };
        let mut some = told();
        let all = height(&draw(&some));
        some["details"] = json!({});
        let fewer = height(&draw(&some));
        assert!(fewer < all - 100.0, "{fewer} {all}");
        let nothing = draw(&json!({}));
        assert!(!nothing.contains("NaN") && height(&nothing) < 100.0, "{nothing}");
    }
}
