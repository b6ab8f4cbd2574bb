//! The table for people: where it was measured, what was measured, what that cost, and what it ought to be.

use std::fmt;

use super::{
    numbers::{mebibytes, rounded},
    results::{Costs, Figure, Results},
    statistics::{median, number},
    usage::{Cost, Usage},
};

/// Wide enough for every name.
const NAME: usize = 28;

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.machine {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(f, "{name:<NAME$} {value}")?;
        }
        for (name, value) in &self.settings {
            writeln!(f, "{name:<NAME$} {value}")?;
        }
        writeln!(
            f,
            "\n{:<NAME$} {:>12} {:>12} {:>12}  of",
            "", "median", "least", "greatest"
        )?;
        for (name, figure) in &self.figures {
            write_figure(f, name, figure)?;
        }
        if !self.usage.is_empty() {
            writeln!(
                f,
                "\n{:<NAME$} {:>12} {:>12}",
                "for 1,000 invoices", "CPU ms", "peak MiB"
            )?;
        }
        for costs in &self.usage {
            write_costs(f, costs)?;
        }
        if !self.targets.is_empty() {
            writeln!(f)?;
        }
        self.targets.iter().try_for_each(|target| writeln!(f, "{target}"))
    }
}

fn write_figure(f: &mut fmt::Formatter<'_>, name: &str, figure: &Figure) -> fmt::Result {
    writeln!(
        f,
        "{name:<NAME$} {:>12} {:>12} {:>12}  {:<2}  {}",
        rounded(figure.median),
        rounded(figure.min),
        rounded(figure.max),
        figure.values.len(),
        figure.unit
    )
}

/// Medians over the repetitions, except for memory, of which the most counts.
fn write_costs(f: &mut fmt::Formatter<'_>, costs: &Costs) -> fmt::Result {
    let thousands = number(costs.invoices) / 1000.0;
    let each = |of: &dyn Fn(&Usage) -> f64| {
        let values: Vec<f64> = costs.runs.iter().map(|usage| of(usage) / thousands).collect();
        rounded(median(&values).unwrap_or(f64::NAN))
    };
    writeln!(f, "{}", costs.name)?;
    let processes = costs.runs.first().map(|usage| &usage.processes);
    for process in processes.into_iter().flatten().map(|(process, _)| *process) {
        let of = |usage: &Usage| usage.processes.get(process).copied().unwrap_or_default();
        let peak = costs.runs.iter().map(|usage| of(usage).peak_bytes).max();
        writeln!(
            f,
            "  {process:<26} {:>12} {:>12}",
            each(&|usage| of(usage).cpu_seconds * 1000.0),
            rounded(mebibytes(peak.unwrap_or_default()))
        )?;
    }
    let all = |usage: &Usage| {
        usage
            .processes
            .values()
            .map(|Cost { cpu_seconds, .. }| cpu_seconds)
            .sum::<f64>()
    };
    writeln!(
        f,
        "  {:<26} {:>12}",
        "all of these",
        each(&|usage| all(usage) * 1000.0)
    )?;
    writeln!(
        f,
        "  {:<26} {:>12}",
        "kernel and strangers",
        each(&|usage| usage.elsewhere_cpu_seconds * 1000.0)
    )?;
    let busy: Vec<f64> = costs
        .runs
        .iter()
        .map(|usage| (all(usage) + usage.elsewhere_cpu_seconds) / usage.seconds)
        .collect();
    let busy = rounded(median(&busy).unwrap_or(f64::NAN));
    writeln!(f, "  {:<26} {busy:>12}", "cores busy")?;
    if costs.runs.iter().any(|usage| usage.wal_bytes > 0) {
        let kibibytes = each(&|usage| mebibytes(usage.wal_bytes) * 1024.0);
        writeln!(f, "  {:<26} {kibibytes:>12} KiB", "write-ahead log")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(table: &str, first: &str) -> Vec<String> {
        let row = table.lines().find(|line| line.trim_start().starts_with(first));
        row.unwrap().split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn repetitions_of_a_figure_are_one_row_with_their_median_and_spread() {
        let mut results = Results::default();
        for value in [3000.0, 1000.0, 2000.0] {
            results.note("pay_all", "invoices/s", value);
        }
        results.note("commit", "ms", 0.25);
        let table = results.to_string();
        assert_eq!(
            words(&table, "pay_all"),
            ["pay_all", "2,000", "1,000", "3,000", "3", "invoices/s"]
        );
        assert_eq!(
            words(&table, "commit"),
            ["commit", "0.250", "0.250", "0.250", "1", "ms"]
        );
    }

    #[test]
    fn costs_are_told_for_a_thousand_invoices_as_medians_and_the_highest_peak() {
        let mut results = Results::default();
        for (cpu_seconds, peak) in [(1.0, 3), (9.0, 5), (2.0, 4)] {
            let mut usage = Usage {
                wal_bytes: 2_048_000,
                elsewhere_cpu_seconds: 0.5,
                seconds: 2.0,
                ..Usage::default()
            };
            let cost = |cpu_seconds| Cost {
                cpu_seconds,
                peak_bytes: peak << 20,
            };
            usage.processes.insert("postgres", cost(cpu_seconds));
            usage.processes.insert("load", cost(1.0));
            results.note_usage("pay_all", 10_000, usage);
        }
        let table = results.to_string();
        assert_eq!(words(&table, "postgres"), ["postgres", "200", "5.00"]);
        assert_eq!(words(&table, "all of these").last().unwrap(), "300");
        assert_eq!(words(&table, "kernel").last().unwrap(), "50.0");
        assert_eq!(words(&table, "cores busy"), ["cores", "busy", "1.75"]);
        assert_eq!(words(&table, "write-ahead"), ["write-ahead", "log", "200", "KiB"]);
    }
}
