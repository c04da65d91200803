//! A strict reader of Prometheus' text format: panics on anything that is not exactly as the format says.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What a scrape holds.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) kinds: BTreeMap<String, String>,
    series: BTreeMap<(String, BTreeMap<String, String>), String>,
}

impl Scrape {
    /// The value of a series named by its labels, without regard to their order.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let key = (name.to_owned(), labels);
        self.series.get(&key).unwrap_or_else(|| panic!("no {key:?} in {self:#?}")).parse().unwrap()
    }

    /// The sum over all series of a name that carry these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |have: &BTreeMap<String, String>| {
            labels.iter().all(|(k, v)| have.get(*k).map(String::as_str) == Some(*v))
        };
        let fitting = self.series.iter().filter(|((n, have), _)| n == name && wanted(have));
        fitting.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// The values that a label takes anywhere.
    pub(crate) fn label_values(&self, label: &str) -> BTreeSet<String> {
        self.series.keys().filter_map(|(_, labels)| labels.get(label)).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }
}

/// Parses and checks: HELP, then TYPE, then the samples of the family, each family once, no series twice,
/// histograms complete and cumulative.
pub(crate) fn parse(text: &str) -> Scrape {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut scrape = Scrape::default();
    let mut family = String::new();
    let mut kind = String::new();
    let mut helped = HashSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').expect("a help text").0.to_owned();
            assert!(is_name(&family), "{line}");
            assert!(helped.insert(family.clone()), "second HELP of {family}");
            kind.clear();
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, what) = typed.split_once(' ').expect("a type");
            assert_eq!(name, family, "TYPE without its HELP");
            assert!(matches!(what, "gauge" | "counter" | "histogram"), "{line}");
            assert!(scrape.kinds.insert(name.to_owned(), what.to_owned()).is_none(), "second TYPE of {name}");
            kind = what.to_owned();
        } else {
            let (name, labels, value) = sample(line);
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(
                suffixes.iter().any(|s| name.strip_suffix(s) == Some(&family)),
                "{line} in family {family} of type {kind}"
            );
            value.parse::<f64>().unwrap_or_else(|_| panic!("not a number: {line}"));
            let key = (name, labels);
            assert!(!scrape.series.contains_key(&key), "series twice: {line}");
            scrape.series.insert(key, value);
        }
    }
    check_histograms(&scrape);
    scrape
}

fn check_histograms(scrape: &Scrape) {
    for family in scrape.kinds.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let mut by_series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &scrape.series {
            if *name == format!("{family}_bucket") {
                let mut labels = labels.clone();
                let le = labels.remove("le").expect("a bucket has a bound");
                assert!(le == "+Inf" || le.contains('.'), "le={le:?} is not canonical");
                by_series.entry(labels).or_default().push((le.parse().unwrap(), value.parse().unwrap()));
            }
        }
        for (labels, mut buckets) in by_series {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "not cumulative: {buckets:?}");
            let (last, count) = *buckets.last().unwrap();
            assert!(last.is_infinite(), "no +Inf: {labels:?}");
            let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(scrape.value(&format!("{family}_count"), &labels), count);
            assert!(scrape.value(&format!("{family}_sum"), &labels) >= 0.0);
        }
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, String) {
    let name: String = line.chars().take_while(|c| !" {".contains(*c)).collect();
    assert!(is_name(&name), "{line}");
    let mut rest = &line[name.len()..];
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, tail) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let mut value = String::new();
            let mut chars = tail.chars();
            loop {
                match chars.next().expect("the end of a label value") {
                    '"' => break,
                    '\\' => value.push(match chars.next() {
                        Some('n') => '\n',
                        Some(c @ ('"' | '\\')) => c,
                        other => panic!("bad escape {other:?}: {line}"),
                    }),
                    c => value.push(c),
                }
            }
            assert!(labels.insert(label.to_owned(), value).is_none(), "label twice: {line}");
            rest = chars.as_str();
            if let Some(tail) = rest.strip_prefix('}') {
                rest = tail;
                break;
            }
            rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("no comma: {line}"));
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
    assert!(!value.contains(' '), "{line}");
    (name, labels, value.to_owned())
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}
