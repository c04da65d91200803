//! What an instant query answers.
use std::collections::BTreeMap;

use serde_json::Value;

/// One sample of an instant vector: the labels (`__name__` among them, where the query keeps it) and the value.
pub type PrometheusSample = (BTreeMap<String, String>, f64);

/// The samples in the order of their labels; a scalar is one sample without labels. `Err` is what is wrong.
pub(super) fn samples(body: &str) -> Result<Vec<PrometheusSample>, String> {
    let answer: Value = serde_json::from_str(body).map_err(|e| format!("{e} in {body:?}"))?;
    if answer["status"] != "success" {
        return Err(answer["error"].as_str().unwrap_or(body).to_owned());
    }
    let result = &answer["data"]["result"];
    let found = match answer["data"]["resultType"].as_str() {
        Some("vector") => result.as_array().and_then(|all| all.iter().map(sample).collect()),
        Some("scalar") => number(result).map(|value| vec![(BTreeMap::new(), value)]),
        _ => return Err(format!("neither a vector nor a scalar: {body}")),
    };
    let mut found: Vec<PrometheusSample> = found.ok_or_else(|| format!("cannot be read: {body}"))?;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn sample(entry: &Value) -> Option<PrometheusSample> {
    let labels = entry["metric"].as_object()?.iter();
    let labels = labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Some((labels.collect::<Option<_>>()?, number(&entry["value"])?))
}

/// `[time, "value"]`, where the value may be `NaN`, `+Inf` or `-Inf`.
fn number(pair: &Value) -> Option<f64> {
    pair[1].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::samples;

    #[test]
    fn values_that_json_cannot_say_are_read() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"a":"2"},"value":[1.5,"NaN"]},{"metric":{"a":"1"},"value":[1.5,"+Inf"]}]}}"#;
        let found = samples(body).unwrap();
        assert_eq!(found[0].0["a"], "1");
        assert_eq!(found[0].1, f64::INFINITY);
        assert!(found[1].1.is_nan());
        let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"-2e-3"]}}"#;
        assert_eq!(samples(body).unwrap()[0].1, -0.002);
    }

    #[test]
    fn a_refusal_and_a_matrix_are_no_samples() {
        assert_eq!(samples(r#"{"status":"error","error":"no such thing"}"#).unwrap_err(), "no such thing");
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert!(samples(matrix).unwrap_err().starts_with("neither"));
        let odd = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#;
        assert!(samples(odd).unwrap_err().starts_with("cannot be read"));
    }
}
