//! A declaration that cannot work is refused when it is made, with the objective's name and the reason.

use std::time::Duration;

use axum::http::Method;
use scalekit_core::ErrorKind;
use scalekit_core::slo::{MAX_ROUTES, Objective, ObjectiveSet, Outcome, Slo};

const T: Duration = Duration::from_millis(300);

fn good(name: &str, route: &str) -> Objective {
    Objective::new(name).route(Method::POST, route).latency(T).target(0.99)
}

#[track_caller]
fn refused(objectives: Vec<Objective>, why: &str) {
    let set = objectives.into_iter().fold(ObjectiveSet::builder("shop"), |set, o| set.objective(o));
    let error = set.build().expect_err(why);
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let a = || good("a", "/a");
    refused(vec![], "the objective set of \"shop\" has no objective");
    refused(vec![good("", "/a")], "an objective has an empty name");
    refused(vec![Objective::new("a").availability(0.9)], "\"a\" names no route");
    refused(vec![good("a", "a")], "\"a\" names the route \"a\", which does not begin with a slash");
    refused(vec![a().route("PROPFIND".parse().unwrap(), "/a")], "\"a\" names the method PROPFIND");
    refused(vec![Objective::new("a").route(Method::GET, "/a")], "\"a\" promises nothing");
    refused(
        vec![Objective::new("a").route(Method::GET, "/a").target(0.9)],
        "\"a\" has a target but no latency",
    );
    refused(
        vec![Objective::new("a").route(Method::GET, "/a").latency(T)],
        "\"a\" has a latency but no target",
    );
    refused(vec![a().latency(Duration::ZERO)], "\"a\" has a latency of 0ns; it must be from 100µs to 3600s");
    refused(vec![a().latency(Duration::MAX)], "it must be from 100µs to 3600s");
    for share in [0.0, 1.0, -0.1, 99.0, f64::NAN, f64::INFINITY] {
        refused(vec![a().target(share)], &format!("\"a\" has the target {share}"));
        refused(vec![a().availability(share)], &format!("\"a\" has the availability {share}"));
    }
    refused(vec![a().availability(0.98)], "\"a\" contradicts itself");
    refused(vec![a().exclude(Outcome::ALL)], "\"a\" excludes ok, so that nothing could be good");
    refused(vec![a().exclude([Outcome::Ok])], "\"a\" excludes ok, so that nothing could be good");
    for failure in [Outcome::ServerError, Outcome::BodyError, Outcome::Panicked] {
        let why = format!("\"a\" excludes {}, which its availability promises", failure.as_str());
        refused(vec![a().availability(0.999).exclude([failure])], &why);
        // A latency alone may be one of the requests that did not fail.
        ObjectiveSet::builder("shop").objective(a().exclude([failure])).build().unwrap();
    }
    refused(vec![a(), good("a", "/b")], "objective \"a\" is declared twice");
    refused(
        vec![a(), good("b", "/a")],
        "objective \"b\" names POST /a, which the objective \"a\" has already",
    );
    refused((0..65).map(|n| good(&n.to_string(), &format!("/{n}"))).collect(), "65 objectives; at most 64");
    let many = (0..=MAX_ROUTES)
        .fold(Objective::new("a").availability(0.9), |o, n| o.route(Method::GET, format!("/{n}")));
    refused(vec![many], "the objectives name 257 routes; at most 256");
    let nameless = ObjectiveSet::builder("").objective(a()).build().unwrap_err();
    assert!(nameless.to_string().contains("empty service name"));
}

#[test]
fn labels_that_would_break_a_scrape_are_refused() {
    let set = ObjectiveSet::builder("shop").objective(good("a", "/a")).build().unwrap();
    for name in ["", "1pod", "pod-id", "__pod", "le", "slo", "http_route"] {
        let error = Slo::builder(set.clone()).label(name, "1").build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("the label name {name:?}")), "{error}");
    }
    let twice = Slo::builder(set).label("pod", "1").label("pod", "2").build().unwrap_err();
    assert!(twice.to_string().contains("\"pod\" is given twice"));
}
