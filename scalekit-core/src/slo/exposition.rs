//! An encoder for metric families of the application's own, and the text primitives that all families share.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Gauges and counters of the application's own in Prometheus' text format.
///
/// A family named twice is one family: its `HELP` and `TYPE` stand once, as first given. A sample with the labels of
/// an earlier one replaces it. Characters that a metric or label name must not have become `_`; label values and help
/// texts may hold anything.
///
/// ```
/// use scalekit_core::slo::Exposition;
///
/// let text = Exposition::new()
///     .gauge("outbox_lag_seconds", "Age of the oldest event not shipped.")
///     .sample(&[("pod", "0")], 0.25)
///     .sample(&[("pod", "1")], 3.0)
///     .counter("orders_total", "Orders placed.")
///     .sample(&[], 7.0)
///     .render();
/// assert!(text.contains("# TYPE outbox_lag_seconds gauge\noutbox_lag_seconds{pod=\"0\"} 0.25\n"));
/// assert!(text.ends_with("# TYPE orders_total counter\norders_total 7\n"));
/// ```
///
/// It follows [`Slo::render`](super::Slo::render) in one response: append the texts, with names of your own.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Exposition {
    families: Vec<Family>,
    current: usize,
}

#[derive(Clone, Debug)]
struct Family {
    name: String,
    help: String,
    kind: &'static str,
    /// By rendered labels, so that no series can stand twice.
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    /// An exposition without families.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a gauge, a value that goes up and down; the samples that follow belong to it.
    pub fn gauge(self, name: &str, help: &str) -> Self {
        self.family(name, help, "gauge")
    }

    /// Starts a counter, a value that only grows; the samples that follow belong to it.
    pub fn counter(self, name: &str, help: &str) -> Self {
        self.family(name, help, "counter")
    }

    /// Adds a value to the family started last; without one it is dropped.
    pub fn sample(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        let mut text = String::new();
        let mut names: Vec<String> = Vec::with_capacity(labels.len());
        for (name, value) in labels {
            let name = valid_name(name, false);
            // Prometheus refuses the whole scrape for a label given twice: the first one stands.
            if !names.contains(&name) {
                push_label(&mut text, &name, value);
                names.push(name);
            }
        }
        if let Some(family) = self.families.get_mut(self.current) {
            family.samples.insert(text, value);
        }
        self
    }

    /// The text; serve it as [`CONTENT_TYPE`](super::CONTENT_TYPE).
    pub fn render(&self) -> String {
        let mut out = String::new();
        for family in &self.families {
            push_head(&mut out, &family.name, &family.help, family.kind);
            for (labels, value) in &family.samples {
                push_sample(&mut out, &family.name, labels, Number(*value));
            }
        }
        out
    }

    fn family(mut self, name: &str, help: &str, kind: &'static str) -> Self {
        let name = valid_name(name, true);
        let known = self.families.iter().position(|family| family.name == name);
        self.current = known.unwrap_or(self.families.len());
        if known.is_none() {
            self.families.push(Family { name, help: help.to_owned(), kind, samples: BTreeMap::new() });
        }
        self
    }
}

/// A float as the format writes it.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number}"),
        }
    }
}

/// Writes the `HELP` and `TYPE` lines of a family.
pub(super) fn push_head(out: &mut String, name: &str, help: &str, kind: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes one series.
pub(super) fn push_sample(out: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

/// Appends one label, escaped.
pub(super) fn push_label(labels: &mut String, name: &str, value: &str) {
    if !labels.is_empty() {
        labels.push(',');
    }
    labels.push_str(name);
    labels.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            c => labels.push(c),
        }
    }
    labels.push('"');
}

/// Whether Prometheus takes this as the name of a label; two leading underscores are its own.
pub(super) fn is_label_name(name: &str) -> bool {
    valid_name(name, false) == name && !name.starts_with("__")
}

fn valid_name(name: &str, colons: bool) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let mut valid: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if valid.is_empty() || valid.starts_with(|c: char| c.is_ascii_digit()) {
        valid.insert(0, '_');
    }
    valid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_and_values_stay_one_line_each() {
        let text = Exposition::new()
            .gauge("0 bad-name", "two\nlines \\ slash")
            .sample(&[("a b", "q\"uote\\ \n"), ("a b", "again"), ("", "empty")], f64::INFINITY)
            .render();
        assert_eq!(
            text,
            "# HELP _0_bad_name two\\nlines \\\\ slash\n# TYPE _0_bad_name gauge\n\
             _0_bad_name{a_b=\"q\\\"uote\\\\ \\n\",_=\"empty\"} +Inf\n"
        );
    }

    #[test]
    fn a_family_stands_once_and_a_series_once() {
        let text = Exposition::new()
            .gauge("a", "first")
            .sample(&[("x", "1")], 1.0)
            .counter("b", "")
            .gauge("a", "second")
            .sample(&[("x", "1")], f64::NAN)
            .render();
        assert_eq!(text, "# HELP a first\n# TYPE a gauge\na{x=\"1\"} NaN\n# HELP b \n# TYPE b counter\n");
        assert_eq!(Exposition::new().sample(&[], 1.0).render(), "");
    }
}
