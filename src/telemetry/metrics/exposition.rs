//! The page that Prometheus reads: text format 0.0.4 as Python's client writes it, labels sorted
//! by name and bounds with a decimal point.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::AttemptOutcome;
use super::catalogue::{
    ATTEMPT_LABELS, CounterFamily, Kind, Label, LatencyFamily, PlainFamily, Shown,
};
use super::histogram::{Bounds, Histogram, NANO};
use super::plain::ATTEMPTS;
use super::series::{Latencies, Series};

/// Content type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page being written.
#[derive(Default)]
pub(super) struct Page {
    pub(super) out: String,
}

impl Page {
    fn header(&mut self, name: &str, kind: Kind, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "# HELP {name} {help}");
        let _ = writeln!(self.out, "# TYPE {name} {}", kind.name());
    }

    pub(super) fn plain_header(&mut self, family: &PlainFamily) {
        self.header(family.name, family.kind, family.help);
    }

    /// A family with one series; without a value only its header.
    pub(super) fn value(&mut self, family: &PlainFamily, value: Option<f64>) {
        self.plain_header(family);
        if let Some(value) = value {
            self.sample(family, &[], value);
        }
    }

    /// One sample of a family whose header is written.
    pub(super) fn sample(&mut self, family: &PlainFamily, values: &[&str], value: f64) {
        let mut labels: Vec<_> = family.labels.iter().copied().zip(values).collect();
        labels.sort_unstable();
        let labels = labels.iter().map(|(name, text)| (*name, **text));
        let labels = Labels::of(labels);
        labels.line(&mut self.out, family.name, "", "");
        let _ = writeln!(self.out, "{value}");
    }

    /// A counter family summed over the series that its labels do not tell apart.
    pub(super) fn counter_family<'s>(
        &mut self,
        family: &CounterFamily,
        all: impl Iterator<Item = &'s Series>,
    ) {
        self.header(family.name, Kind::Counter, family.help);
        let names = sorted(family.labels);
        let mut sums: BTreeMap<Vec<&str>, u64> = BTreeMap::new();
        for series in all {
            let shown = series.shown(family.shown);
            if shown > 0 {
                let texts = names
                    .iter()
                    .map(|label| series.labels.text(*label))
                    .collect();
                *sums.entry(texts).or_default() += shown;
            }
        }
        for (texts, sum) in sums {
            let labels = Labels::of(named(&names, texts));
            labels.line(&mut self.out, family.name, "", "");
            match family.shown {
                Shown::Spend => write_nanos(&mut self.out, sum),
                _ => write_count(&mut self.out, sum),
            }
        }
    }

    /// A latency family summed likewise.
    pub(super) fn latency_family<'s>(
        &mut self,
        family: &LatencyFamily,
        bounds: &Bounds,
        all: impl Iterator<Item = &'s Latencies>,
    ) {
        self.header(family.name, Kind::Histogram, family.help);
        let names = sorted(family.labels);
        let mut sums: BTreeMap<Vec<&str>, Histogram> = BTreeMap::new();
        for latencies in all {
            let texts = names
                .iter()
                .map(|label| latencies.labels.text(*label))
                .collect();
            let histogram = &latencies.histograms[family.latency as usize];
            sums.entry(texts).or_default().add(histogram);
        }
        for (texts, histogram) in sums {
            if !histogram.is_empty() {
                let labels = Labels::of(named(&names, texts));
                self.write_histogram(family.name, &labels, bounds, &histogram);
            }
        }
    }

    /// A histogram without labels.
    pub(super) fn plain_histogram(
        &mut self,
        family: &PlainFamily,
        bounds: &Bounds,
        histogram: &Histogram,
    ) {
        self.plain_header(family);
        self.write_histogram(family.name, &Labels::default(), bounds, histogram);
    }

    fn write_histogram(
        &mut self,
        name: &str,
        labels: &Labels,
        bounds: &Bounds,
        histogram: &Histogram,
    ) {
        let mut cumulative = 0;
        let mut bound_text = String::new();
        for at in 0..=bounds.nanos().len() {
            // A histogram without observations has no counts yet.
            cumulative += histogram.counts.get(at).unwrap_or(&0);
            bound_text.clear();
            match bounds.nanos().get(at) {
                Some(bound) => push_nanos(&mut bound_text, *bound),
                None => bound_text.push_str("+Inf"),
            }
            labels.line(&mut self.out, name, "_bucket", &bound_text);
            write_count(&mut self.out, cumulative);
        }
        labels.line(&mut self.out, name, "_count", "");
        write_count(&mut self.out, cumulative);
        labels.line(&mut self.out, name, "_sum", "");
        write_nanos(&mut self.out, histogram.sum);
    }

    /// Attempts by deployment and outcome.
    pub(super) fn attempts<'s>(&mut self, all: impl Iterator<Item = &'s Series>) {
        self.plain_header(&ATTEMPTS);
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for series in all {
            for outcome in AttemptOutcome::ALL {
                let count = series.attempts(outcome);
                if count > 0 {
                    let deployment = series.labels.text(ATTEMPT_LABELS[0]);
                    *sums.entry((deployment, outcome.label())).or_default() += count;
                }
            }
        }
        for ((deployment, outcome), sum) in sums {
            self.sample(&ATTEMPTS, &[deployment, outcome], sum as f64);
        }
    }
}

fn sorted(labels: &[Label]) -> Vec<Label> {
    let mut labels = labels.to_vec();
    labels.sort_unstable_by_key(|label| label.name());
    labels
}

fn named<'a>(
    names: &'a [Label],
    texts: Vec<&'a str>,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    names.iter().map(|label| label.name()).zip(texts)
}

/// Rendered labels of one series, cut where `le` belongs in the order of names.
#[derive(Default)]
struct Labels {
    before_le: String,
    after_le: String,
}

impl Labels {
    fn of<'a>(sorted: impl Iterator<Item = (&'static str, &'a str)>) -> Self {
        let mut labels = Self::default();
        for (name, text) in sorted {
            let part = if name < "le" {
                &mut labels.before_le
            } else {
                &mut labels.after_le
            };
            if !part.is_empty() {
                part.push(',');
            }
            part.push_str(name);
            part.push_str("=\"");
            push_escaped(part, text);
            part.push('"');
        }
        labels
    }

    /// Name, labels and the space before the value.
    fn line(&self, out: &mut String, name: &str, suffix: &str, bound: &str) {
        out.push_str(name);
        out.push_str(suffix);
        let le = match bound {
            "" => String::new(),
            bound => format!("le=\"{bound}\""),
        };
        let mut opener = '{';
        for part in [&self.before_le, &le, &self.after_le] {
            if !part.is_empty() {
                out.push(opener);
                out.push_str(part);
                opener = ',';
            }
        }
        if opener == ',' {
            out.push('}');
        }
        out.push(' ');
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

fn write_count(out: &mut String, count: u64) {
    let _ = writeln!(out, "{count}.0");
}

fn write_nanos(out: &mut String, nanos: u64) {
    push_nanos(out, nanos);
    out.push('\n');
}

/// Billionths as an exact decimal with at least one digit after the point.
fn push_nanos(out: &mut String, nanos: u64) {
    let fraction = format!("{:09}", nanos % NANO);
    let fraction = fraction.trim_end_matches('0');
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    let _ = write!(out, "{}.{fraction}", nanos / NANO);
}
