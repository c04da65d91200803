//! Numbers that an operator sets without a build, and what is refused of them.

use std::process::Command;
use std::time::Duration;

use axum::http::Method;
use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
use scalekit_core::{ErrorKind, Result};

fn declared() -> [Objective; 3] {
    let post = |name: &str| Objective::new(name).route(Method::POST, format!("/{name}"));
    [
        post("checkout").latency(Duration::from_millis(300)).target(0.99).availability(0.999),
        post("checkout-paid").until("paid").latency(Duration::from_secs(5)).target(0.9),
        post("up").availability(0.9),
    ]
}

fn builder() -> scalekit_core::slo::ObjectiveSetBuilder {
    declared().into_iter().fold(ObjectiveSet::builder("shop"), |set, o| set.objective(o))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Threshold, target and availability of each objective.
fn numbers(set: Result<ObjectiveSet>) -> Vec<(Option<f64>, Option<f64>, Option<f64>)> {
    let rows = Slo::new(set.unwrap()).objective_rows();
    rows.into_iter().map(|row| (row.threshold, row.target, row.availability)).collect()
}

#[test]
fn each_number_can_be_changed_and_the_others_stay() {
    let was = [(Some(0.3), Some(0.99), Some(0.999)), (Some(5.0), Some(0.9), None), (None, None, Some(0.9))];
    assert_eq!(numbers(builder().overrides([]).build()), was);
    let changed = pairs(&[
        ("CHECKOUT_LATENCY", "250ms"),
        ("CHECKOUT_TARGET", "0.995"),
        ("CHECKOUT_AVAILABILITY", "0.9995"),
        ("CHECKOUT_PAID_LATENCY", "1m"),
    ]);
    let is = [(Some(0.25), Some(0.995), Some(0.9995)), (Some(60.0), Some(0.9), None), was[2]];
    assert_eq!(numbers(builder().overrides(changed.clone()).build()), is);
    // Wherever it is said, and the last word counts.
    let early = declared()
        .into_iter()
        .fold(ObjectiveSet::builder("shop").overrides(changed), |set, o| set.objective(o));
    assert_eq!(numbers(early.clone().build()), is);
    let later = early.overrides(pairs(&[("CHECKOUT_LATENCY", "2s")])).build();
    assert_eq!(numbers(later)[0].0, Some(2.0));
    // The bounds follow.
    let set = builder().overrides(pairs(&[("CHECKOUT_LATENCY", "123ms")])).build().unwrap();
    assert!(Slo::new(set).render().contains("le=\"0.123\""));
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_variable() {
    let (share, time) = ("a share above 0 and below 1", "a whole number with its unit us, ms, s, m or h");
    for (key, value, why) in [
        ("CHECKOUT_LATENCY", "fast", format!("CHECKOUT_LATENCY is \"fast\"; expected is {time}")),
        ("CHECKOUT_LATENCY", "", format!("CHECKOUT_LATENCY is \"\"; expected is {time}")),
        ("CHECKOUT_TARGET", "99.5%", format!("CHECKOUT_TARGET is \"99.5%\"; expected is {share}")),
        ("UP_AVAILABILITY", "1", format!("UP_AVAILABILITY is \"1\"; expected is {share}")),
        (
            "CHECK_OUT_TARGET",
            "0.9",
            "names the objective CHECK_OUT; there are CHECKOUT, CHECKOUT_PAID, UP".into(),
        ),
        ("checkout_TARGET", "0.9", "names the objective checkout; there are".into()),
        ("_TARGET", "0.9", "_TARGET names the objective ; there are".into()),
        ("CHECKOUT_BUDGET", "0.9", "CHECKOUT_BUDGET sets no number of an objective".into()),
        ("CHECKOUT", "0.9", "CHECKOUT sets no number of an objective".into()),
        // Well-formed, and no good for this objective: the declaration's own words, and who changed it.
        ("CHECKOUT_LATENCY", "2h", "must be from 100µs to 3600s (with CHECKOUT_LATENCY=2h)".into()),
        ("CHECKOUT_AVAILABILITY", "0.5", "contradicts itself".into()),
        ("UP_LATENCY", "2s", "\"up\" has a latency but no target (with UP_LATENCY=2s)".into()),
    ] {
        let error = builder().overrides(pairs(&[(key, value)])).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&why), "{key}={value}: {error}");
    }
}

#[test]
fn names_that_one_variable_would_mean_are_refused() {
    for other in ["checkout_paid", "Checkout-Paid", "CHECKOUT-PAID"] {
        let twin = Objective::new(other).route(Method::GET, "/twin").availability(0.9);
        let error = builder().objective(twin).build().unwrap_err();
        let both = format!("objectives \"checkout-paid\" and {other:?} are both CHECKOUT_PAID");
        assert!(error.to_string().contains(&both), "{error}");
    }
}

const CHILD: &str = "SCALEKIT_TEST_OVERRIDES_CHILD";

/// Runs itself again as a process with an environment of its own.
#[test]
fn the_environment_is_read_by_its_prefix() {
    if std::env::var_os(CHILD).is_some() {
        match builder().overrides_from_env("SCALEKIT_SLO").build() {
            Ok(set) => println!("numbers: {:?}", numbers(Ok(set))),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    let child = |variables: &[(&str, &str)]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "overrides::the_environment_is_read_by_its_prefix", "--nocapture"]);
        command.env(CHILD, "1").envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = child(&[
        ("SCALEKIT_SLO_CHECKOUT_LATENCY", "250ms"),
        ("SCALEKIT_SLO_CHECKOUT_PAID_TARGET", "0.95"),
        ("SCALEKIT_SLOW", "ours to ignore"),
        ("CHECKOUT_TARGET", "ours to ignore"),
    ]);
    assert!(
        said.contains("numbers: [(Some(0.25), Some(0.99), Some(0.999)), (Some(5.0), Some(0.95), None)"),
        "{said}"
    );
    let said = child(&[("SCALEKIT_SLO_CHECKOUT_TARGET", "high")]);
    assert!(said.contains("refused: SCALEKIT_SLO_CHECKOUT_TARGET is \"high\"; expected is"), "{said}");
    let said = child(&[("SCALEKIT_SLO_TYPO_TARGET", "0.9")]);
    assert!(said.contains("refused: SCALEKIT_SLO_TYPO_TARGET names the objective TYPO"), "{said}");
}
