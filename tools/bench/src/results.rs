//! Everything that was measured, and `bench.json` with all of it for programs. The table for people is in `table`.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::{
    statistics::{median, spread},
    targets::Target,
    usage::Usage,
};
use acceptance::Result;

/// A measured quantity, once for each repetition.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What the values count.
    pub unit: &'static str,
    /// In order of the repetitions.
    pub values: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// What the repetitions of a measurement cost.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    /// The measurement.
    pub name: String,
    /// How many invoices each repetition paid.
    pub invoices: u64,
    /// In order of the repetitions.
    pub runs: Vec<Usage>,
}

/// Everything a run came to, in the order in which it was measured first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// Which machine and which commit.
    pub machine: BTreeMap<&'static str, Value>,
    /// What makes writes durable, and what does not.
    pub settings: BTreeMap<String, String>,
    /// By name.
    pub figures: Vec<(String, Figure)>,
    /// What the rates cost.
    pub usage: Vec<Costs>,
    /// What the rates ought to be.
    pub targets: Vec<Target>,
    /// The most memory each process ever held at once, in bytes, over all repetitions.
    pub peaks: BTreeMap<&'static str, u64>,
    /// Measurements in detail: ladders of rates, rates over time.
    pub details: BTreeMap<String, Value>,
}

impl Results {
    /// Adds the value of a repetition.
    pub fn note(&mut self, name: &str, unit: &'static str, value: f64) {
        let mut values = self.values(name).to_vec();
        values.push(value);
        let (min, max) = spread(&values).unwrap_or((value, value));
        let figure = Figure {
            unit,
            median: median(&values).unwrap_or(value),
            values,
            min,
            max,
        };
        match self.figures.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = figure,
            None => self.figures.push((name.to_owned(), figure)),
        }
    }

    /// Keeps what a repetition of `invoices` invoices cost.
    pub fn note_usage(&mut self, name: &str, invoices: u64, usage: Usage) {
        for (process, cost) in &usage.processes {
            let peak = self.peaks.entry(process).or_default();
            *peak = cost.peak_bytes.max(*peak);
        }
        match self.usage.iter_mut().find(|known| known.name == name) {
            Some(known) => known.runs.push(usage),
            None => self.usage.push(Costs {
                name: name.to_owned(),
                invoices,
                runs: vec![usage],
            }),
        }
    }

    /// The median of a figure; `None` when it was not measured.
    pub fn median(&self, name: &str) -> Option<f64> {
        median(self.values(name))
    }

    fn values(&self, name: &str) -> &[f64] {
        let found = self.figures.iter().find(|(known, _)| known == name);
        found.map_or(&[], |(_, figure)| &figure.values)
    }

    /// Writes everything.
    pub fn write(&self, path: &Path) -> Result<()> {
        let figures: BTreeMap<_, _> = self.figures.iter().map(|(name, figure)| (name, figure)).collect();
        let usage: BTreeMap<_, _> = self.usage.iter().map(|costs| (&costs.name, costs)).collect();
        let all = serde_json::json!({
            "machine": self.machine, "settings": self.settings, "figures": figures, "usage": usage,
            "targets": self.targets, "peaks": self.peaks, "details": self.details,
        });
        Ok(std::fs::write(path, format!("{all:#}\n"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Cost;

    #[test]
    fn repetitions_of_a_figure_are_one_row_with_their_median_and_spread() {
        let mut results = Results::default();
        for value in [3000.0, 1000.0, 2000.0] {
            results.note("pay_all", "invoices/s", value);
        }
        results.note("commit", "ms", 0.25);
        assert_eq!(results.median("pay_all"), Some(2000.0));
        assert_eq!(results.median("other"), None);
        let (_, figure) = results.figures.first().unwrap();
        assert_eq!((figure.min, figure.max), (1000.0, 3000.0));
        assert_eq!(figure.values, [3000.0, 1000.0, 2000.0]);
        assert_eq!(results.figures.len(), 2);
    }

    #[test]
    fn the_peak_of_a_process_is_that_of_all_measurements() {
        let mut results = Results::default();
        for (name, peak_bytes) in [("a", 5), ("a", 9), ("b", 7)] {
            let cost = Cost {
                cpu_seconds: 1.0,
                peak_bytes,
            };
            let mut usage = Usage::default();
            usage.processes.insert("postgres", cost);
            results.note_usage(name, 1000, usage);
        }
        assert_eq!(results.peaks.get("postgres"), Some(&9));
        let kept: Vec<usize> = results.usage.iter().map(|cost| cost.runs.len()).collect();
        assert_eq!(kept, [2, 1]);
    }
}
