//! What is handed out: one table for people, and `bench.json` with everything for programs.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::{
    statistics::{median, spread},
    targets::Target,
    usage::{Cost, Usage},
};
use crate::Result;

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

/// Everything a run came to, in the order in which it was measured first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Which machine and which commit.
    pub machine: BTreeMap<&'static str, Value>,
    /// What makes writes durable, and what does not.
    pub settings: BTreeMap<String, String>,
    /// By name.
    pub figures: Vec<(String, Figure)>,
    /// What the rates cost, by name; each the last repetition's.
    pub usage: Vec<(String, u64, Usage)>,
    /// What the rates ought to be.
    pub targets: Vec<Target>,
    /// The most memory each process ever held at once, in bytes, over all repetitions.
    pub peaks: BTreeMap<&'static str, u64>,
    /// Measurements in detail: ladders of rates, rates over time.
    pub details: BTreeMap<String, Value>,
}

impl Report {
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
        self.usage.retain(|(known, ..)| known != name);
        self.usage.push((name.to_owned(), invoices, usage));
    }

    /// The median of a figure; `None` when it was not measured.
    #[must_use]
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
        let usage: BTreeMap<_, _> = self
            .usage
            .iter()
            .map(|(name, invoices, usage)| (name, (invoices, usage)))
            .map(|(name, (invoices, usage))| {
                (name, serde_json::json!({"invoices": invoices, "usage": usage}))
            })
            .collect();
        let all = serde_json::json!({
            "machine": self.machine, "settings": self.settings, "figures": figures, "usage": usage,
            "targets": self.targets, "peaks": self.peaks, "details": self.details,
        });
        Ok(std::fs::write(path, format!("{all:#}\n"))?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.machine {
            writeln!(
                f,
                "{name:<12} {}",
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            )?;
        }
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        writeln!(f, "{:<12} {}", "settings", settings.join(" "))?;
        let width = self.figures.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        writeln!(
            f,
            "\n{:<width$} {:>12} {:>12} {:>12}  {:>2}",
            "", "median", "least", "greatest", "of"
        )?;
        for (name, figure) in &self.figures {
            let Figure {
                median,
                min,
                max,
                values,
                unit,
            } = figure;
            writeln!(
                f,
                "{name:<width$} {:>12} {:>12} {:>12}  {:>2}  {unit}",
                rounded(*median),
                rounded(*min),
                rounded(*max),
                values.len()
            )?;
        }
        if !self.usage.is_empty() {
            writeln!(
                f,
                "\nfor 1,000 invoices, in the last repetition: CPU ms (peak MiB)"
            )?;
        }
        for (name, invoices, usage) in &self.usage {
            write!(f, "{name:<width$}")?;
            let thousands = super::statistics::number(*invoices) / 1000.0;
            for (
                process,
                Cost {
                    cpu_seconds,
                    peak_bytes,
                },
            ) in &usage.processes
            {
                write!(
                    f,
                    "  {process} {} ({})",
                    rounded(cpu_seconds * 1000.0 / thousands),
                    rounded(mebibytes(*peak_bytes))
                )?;
            }
            writeln!(
                f,
                "  elsewhere {}  WAL {} KiB",
                rounded(usage.elsewhere_cpu_seconds * 1000.0 / thousands),
                rounded(mebibytes(usage.wal_bytes) * 1024.0 / thousands)
            )?;
        }
        if !self.targets.is_empty() {
            writeln!(f)?;
        }
        self.targets.iter().try_for_each(|target| writeln!(f, "{target}"))
    }
}

/// Bytes in MiB.
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    super::statistics::number(bytes) / 1024.0 / 1024.0
}

/// Three significant digits, or whole numbers with their thousands apart.
#[must_use]
pub fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_what_can_be_read() {
        assert_eq!(rounded(0.123_45), "0.123");
        assert_eq!(rounded(3.456), "3.46");
        assert_eq!(rounded(45.67), "45.7");
        assert_eq!(rounded(456.7), "457");
        assert_eq!(rounded(1234.5), "1,234");
        assert_eq!(rounded(-1_234_567.0), "-1,234,567");
        assert_eq!(rounded(100_000.0), "100,000");
    }

    #[test]
    fn repetitions_of_a_figure_are_one_row_with_their_median_and_spread() {
        let mut report = Report::default();
        for value in [3000.0, 1000.0, 2000.0] {
            report.note("pay_all", "invoices/s", value);
        }
        report.note("commit", "ms", 0.25);
        assert_eq!(report.median("pay_all"), Some(2000.0));
        assert_eq!(report.median("other"), None);
        let table = report.to_string();
        let row = table.lines().find(|line| line.starts_with("pay_all")).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["pay_all", "2,000", "1,000", "3,000", "3", "invoices/s"]);
        assert!(table.contains("commit"), "{table}");
    }

    #[test]
    fn costs_are_told_for_a_thousand_invoices() {
        let mut report = Report::default();
        let mut usage = Usage {
            wal_bytes: 2_048_000,
            ..Usage::default()
        };
        let cost = Cost {
            cpu_seconds: 1.0,
            peak_bytes: 3 << 20,
        };
        usage.processes.insert("postgres", cost);
        report.note_usage("pay_all", 10_000, usage);
        let table = report.to_string();
        assert!(table.contains("postgres 100 (3.00)"), "{table}");
        assert!(table.contains("WAL 200 KiB"), "{table}");
    }
}
