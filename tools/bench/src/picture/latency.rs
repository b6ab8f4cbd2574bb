//! How long a single payment takes, by how many come a second.

use charts::{Picture, Scale};
use serde::Deserialize;
use serde_json::Value;

use super::panel::{MARGIN, heading, tick};
use crate::numbers::rounded;

/// Of the plot; its ticks stand to its left.
const LEFT: f64 = 56.0;
const HEIGHT: f64 = 160.0;

/// What is drawn of a step of the search.
#[derive(Clone, Deserialize)]
struct Step {
    rate: f64,
    p50: f64,
    p99: f64,
    kept_up: bool,
}

/// One line, by where its steps are told, its role, its words, and which latency it shows.
type Curve = (&'static str, &'static str, &'static str, fn(&Step) -> f64);

const CURVES: [Curve; 3] = [
    ("pay_each", "ours thin", "p99", |step| step.p99),
    ("pay_each", "ours", "p50", |step| step.p50),
    ("pay_each.bank", "other", "p50, 50 ms bank", |step| step.p50),
];

pub(super) fn draw(picture: &mut Picture, told: &Value, top: f64) -> Option<f64> {
    let curves = CURVES.map(|(name, role, words, of)| (kept_up(told, name), role, words, of));
    let rates = curves
        .iter()
        .flat_map(|(steps, ..)| steps.iter().map(|step| step.rate));
    let times = curves.iter().flat_map(|(steps, _, _, of)| steps.iter().map(of));
    let (least, most) = bounds(rates)?;
    let (soonest, latest) = bounds(times)?;
    let too_much = too_much(told, most);
    let across = Scale::logarithmic(
        (least / 1.1, too_much.unwrap_or(most) * 1.05),
        (LEFT, picture.width() - MARGIN),
    );
    let (upper, lower) = (top + 34.0, top + 34.0 + HEIGHT);
    let upwards = Scale::logarithmic((soonest / 1.5, latest * 1.3), (lower, upper));
    heading(
        picture,
        top,
        "How long a single payment takes",
        "milliseconds, by payments a second",
    );
    axes(picture, (&across, &upwards), (upper, lower));
    if let Some(rate) = too_much {
        let x = across.place(rate);
        picture.line((x, upper), (x, lower), "aim");
        let words = format!("too much at {}", rounded(rate));
        picture.text((x - 6.0, lower - 8.0), "muted end", &words);
    }
    for (steps, role, words, of) in curves {
        let points: Vec<_> = steps
            .iter()
            .map(|step| (across.place(step.rate), upwards.place(of(step))))
            .collect();
        let Some((x, y)) = points.first().copied() else {
            continue;
        };
        picture.curve(&points, role);
        for point in points {
            picture.dot(point, 3.0, role);
        }
        // Above where it begins: where they end, they are close to each other.
        let role = role.split(' ').next().unwrap_or_default();
        picture.text((x - 4.0, y - 9.0), role, words);
    }
    Some(lower + 20.0)
}

fn axes(picture: &mut Picture, (across, upwards): (&Scale, &Scale), (upper, lower): (f64, f64)) {
    for value in upwards.ticks() {
        let y = upwards.place(value);
        picture.line((LEFT, y), (picture.width() - MARGIN, y), "grid");
        picture.text((LEFT - 8.0, y + 4.0), "muted number end", &tick(value));
    }
    picture.line((LEFT, upper), (LEFT, lower), "grid");
    picture.line((LEFT, lower), (picture.width() - MARGIN, lower), "grid");
    for value in across.ticks() {
        picture.text(
            (across.place(value), lower + 18.0),
            "muted number middle",
            &tick(value),
        );
    }
}

/// The steps that were kept up, by their rates.
fn kept_up(told: &Value, name: &str) -> Vec<Step> {
    let mut steps = steps(told, name);
    steps.retain(|step| step.kept_up && step.rate > 0.0 && step.p50 > 0.0);
    steps.sort_unstable_by(|one, other| one.rate.total_cmp(&other.rate));
    steps
}

/// The lowest rate above all that were kept up which was not.
fn too_much(told: &Value, highest: f64) -> Option<f64> {
    let failed = steps(told, "pay_each").into_iter().filter(|step| !step.kept_up);
    failed
        .map(|step| step.rate)
        .filter(|rate| *rate > highest)
        .reduce(f64::min)
}

fn steps(told: &Value, name: &str) -> Vec<Step> {
    let steps = told.get("details").and_then(|details| details.get(name)).cloned();
    serde_json::from_value(steps.unwrap_or_default()).unwrap_or_default()
}

fn bounds(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((values.clone().reduce(f64::min)?, values.reduce(f64::max)?))
}
