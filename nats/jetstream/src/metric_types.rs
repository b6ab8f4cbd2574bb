//! Prometheus's types of metrics, and the one place where a metric's meaning, type and name are declared.

use std::time::Duration;

use metrics::{KeyName, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Declares metrics: the comment is the help text. Makes `describe_all`, which gives them to the recorder.
#[macro_export]
macro_rules! declare_metrics {
    ($($(#[doc = $help:literal])+ $metric:ident: $kind:ident = $name:literal;)+) => {
        $(pub(crate) const $metric: $crate::metric_types::$kind = $crate::metric_types::$kind($name);)+

        fn describe_all() {
            $($metric.describe(concat!($($help),+).trim_start());)+
        }
    };
}

/// A number that only grows, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Counter(pub &'static str);

/// A number as it stands, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(pub &'static str);

/// Values by their size, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(pub &'static str);

impl Counter {
    /// Gives the recorder the help text.
    pub fn describe(self, help: &'static str) {
        describe_counter!(self, help);
    }

    /// Counts so many more.
    pub fn add(self, count: u64) {
        counter!(self).increment(count);
    }
}

impl Gauge {
    /// Gives the recorder the help text.
    pub fn describe(self, help: &'static str) {
        describe_gauge!(self, help);
    }

    /// Sets it; not a number while nobody knows.
    pub fn set(self, value: impl Into<f64>) {
        gauge!(self).set(value.into());
    }

    /// Adds to it, or takes away.
    pub fn add(self, difference: f64) {
        gauge!(self).increment(difference);
    }
}

impl Histogram {
    /// Gives the recorder the help text.
    pub fn describe(self, help: &'static str) {
        describe_histogram!(self, help);
    }

    /// Adds a time, in seconds.
    pub fn record(self, took: Duration) {
        histogram!(self).record(took.as_secs_f64());
    }
}

impl From<Counter> for KeyName {
    fn from(counter: Counter) -> Self {
        counter.0.into()
    }
}

impl From<Gauge> for KeyName {
    fn from(gauge: Gauge) -> Self {
        gauge.0.into()
    }
}

impl From<Histogram> for KeyName {
    fn from(histogram: Histogram) -> Self {
        histogram.0.into()
    }
}
