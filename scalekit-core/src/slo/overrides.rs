//! Other numbers for declared objectives without a build: from the environment, or from any list of pairs.

use std::collections::HashMap;
use std::time::Duration;

use super::objective::{Objective, config};
use crate::Result;

/// One variable that asks for another number.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// As the operator knows it.
    variable: String,
    /// Without the prefix.
    key: String,
    value: String,
}

impl Override {
    pub(super) fn new(key: String, value: String) -> Self {
        Self { variable: key.clone(), key, value }
    }

    /// The variables of this process that begin with the prefix and an underscore.
    pub(super) fn from_env(prefix: &str) -> impl Iterator<Item = Self> {
        let prefix = format!("{prefix}_");
        std::env::vars_os().filter_map(move |(variable, value)| {
            // What is no text is kept, with a mark that no name and no number has, so that it is refused.
            let variable = variable.to_string_lossy().into_owned();
            let key = variable.strip_prefix(&prefix)?.to_owned();
            Some(Self { variable, key, value: value.to_string_lossy().into_owned() })
        })
    }
}

/// The name of an objective as it stands in a variable.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// Changes the objectives; returns for each the variables that did it.
pub(super) fn apply(objectives: &mut [Objective], overrides: &[Override]) -> Result<Vec<Vec<String>>> {
    let places: HashMap<String, usize> =
        objectives.iter().enumerate().map(|(at, objective)| (folded(&objective.name), at)).collect();
    let mut changed = vec![Vec::new(); objectives.len()];
    for Override { variable, key, value } in overrides {
        let refuse = |why: String| Err(config(format!("{variable} {why}")));
        let Some((name, number)) =
            KEYS.iter().find_map(|(suffix, number)| Some((key.strip_suffix(suffix)?, number)))
        else {
            return refuse(
                "sets no number of an objective: it must end in _LATENCY, _TARGET or _AVAILABILITY".into(),
            );
        };
        let Some(objective) = places.get(name).and_then(|at| objectives.get_mut(*at)) else {
            let mut known: Vec<&str> = places.keys().map(String::as_str).collect();
            known.sort_unstable();
            return refuse(format!("names the objective {name}; there are {}", known.join(", ")));
        };
        if let Err(expected) = number(objective, value) {
            return refuse(format!("is {value:?}; expected is {expected}"));
        }
        if let Some(changed) = places.get(name).and_then(|at| changed.get_mut(*at)) {
            changed.push(format!("{variable}={value}"));
        }
    }
    Ok(changed)
}

/// Sets one number of an objective, or says what it should look like.
type Set = fn(&mut Objective, &str) -> std::result::Result<(), &'static str>;

const KEYS: [(&str, Set); 3] = [
    ("_LATENCY", |objective, value| {
        objective.latency =
            Some(duration(value).ok_or("a whole number with its unit us, ms, s, m or h, such as 250ms")?);
        Ok(())
    }),
    ("_TARGET", |objective, value| {
        objective.target = Some(share(value)?);
        Ok(())
    }),
    ("_AVAILABILITY", |objective, value| {
        objective.availability = Some(share(value)?);
        Ok(())
    }),
];

fn share(value: &str) -> std::result::Result<f64, &'static str> {
    let plain = value.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    let share = value.parse().ok().filter(|_| plain);
    share.filter(|share| *share > 0.0 && *share < 1.0).ok_or("a share above 0 and below 1, such as 0.995")
}

fn duration(value: &str) -> Option<Duration> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, expected) in [
            ("100us", Some(Duration::from_micros(100))),
            ("250ms", Some(Duration::from_millis(250))),
            ("2s", Some(Duration::from_secs(2))),
            ("1m", Some(Duration::from_secs(60))),
            ("1h", Some(Duration::from_secs(3_600))),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
        let bad = [
            "",
            "ms",
            "250",
            "0.25s",
            "-1s",
            "+1s",
            " 1s",
            "1s ",
            "1 s",
            "250MS",
            "1d",
            "99999999999999999999s",
        ];
        for text in bad.into_iter().chain(["18446744073709551615h"]) {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "1", "0", "0.0", "1.5", "-0.5", "NaN", "inf", "99.9%", "5e-1", ".", "0.9.9", " 0.9"]
        {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(share("0.995"), Ok(0.995));
    }
}
