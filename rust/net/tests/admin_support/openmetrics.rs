//! A strict reader of OpenMetrics text, as far as our families go.

use std::collections::{BTreeMap, BTreeSet};

/// Every series with its value, by name and labels as they are written. Panics on what is not OpenMetrics.
pub fn read(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("the text ends with its end mark");
    let (mut families, mut series) = (BTreeSet::new(), BTreeMap::new());
    // Name, type, unit and whether there was help, of the family that the samples belong to.
    let mut family: (&str, &str, &str, bool) = ("", "", "", false);
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let [word, name, rest] = comment.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            if name != family.0 {
                assert!(families.insert(name), "{name} occurs twice");
                family = (name, "", "", false);
            }
            match word {
                "HELP" if !rest.is_empty() => family.3 = true,
                "TYPE" => family.1 = rest,
                "UNIT" => family.2 = rest,
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, kind, unit, has_help) = family;
        assert!(has_help && !kind.is_empty(), "no help or type before {line}");
        assert!(name.starts_with("streamconductor_"), "{name}");
        assert!(unit.is_empty() || name.ends_with(&format!("_{unit}")), "{name} does not end with {unit}");
        let (key, value) = line.rsplit_once(' ').unwrap();
        let (sample, labels) = key.split_once('{').unwrap_or((key, "}"));
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => panic!("{kind}"),
        };
        assert!(
            suffixes.iter().any(|suffix| sample.strip_suffix(suffix) == Some(name)),
            "{sample} in {name}"
        );
        assert!(is_label_set(labels), "{line}");
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && (kind != "counter" || value >= 0.0), "{line}");
        assert!(series.insert(key.to_owned(), value).is_none(), "{key} occurs twice");
        if let Some(before) = sample.strip_suffix("_bucket") {
            let buckets = series.iter().filter(|(key, _)| key.starts_with(sample));
            assert!(buckets.map(|(_, count)| *count).all(|count| count <= value), "{line} is not cumulative");
            if labels == "le=\"+Inf\"}" {
                // Counts, so their difference is exact.
                assert!((series[&format!("{before}_count")] - value).abs() < 0.5, "{line}");
            }
        }
    }
    series
}

/// `name="value",…}` with backslash, quote and line feed escaped.
fn is_label_set(mut labels: &str) -> bool {
    while labels != "}" {
        let Some((name, rest)) = labels.split_once("=\"") else { return false };
        let mut escaped = false;
        let end = rest.find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let Some(end) = end else { return false };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return false;
        }
        let behind = &rest[end + 1..];
        labels = behind.strip_prefix(',').unwrap_or(behind);
    }
    true
}
