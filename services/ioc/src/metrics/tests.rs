//! Properties of reading, joining and writing expositions, and the faults that reading refuses.

use proptest::prelude::*;

use super::*;

#[test]
fn a_real_exposition_comes_back_as_it_was() {
    let text = concat!(
        "# HELP a_seconds Time \\\\ it took\\nreally.\n",
        "# TYPE a_seconds histogram\n",
        "a_seconds_bucket{route=\"/x\",le=\"0.5\"} 1\n",
        "a_seconds_bucket{route=\"/x\",le=\"10\"} 2\n",
        "a_seconds_bucket{route=\"/x\",le=\"+Inf\"} 2\n",
        "a_seconds_count{route=\"/x\"} 2\n",
        "a_seconds_sum{route=\"/x\"} 0.7\n",
        "# TYPE b_total counter\n",
        "b_total{kind=\"quote \\\" slash \\\\ line \\n\"} 3 1700000000000\n",
        "# TYPE c untyped\n",
        "c NaN\n",
    );
    assert_eq!(parse(text).expect("valid").write(), text);
}

#[test]
fn what_prometheus_writes_itself_is_read() {
    let metrics = platform::metrics::Metrics::new("wallet", "a:1");
    metrics.counter("payments_total", "Payments.", &["kind"]).with_label_values(&["payment"]).inc_by(7);
    metrics.histogram("wait_seconds", "Waiting.", &["queue"], &[0.1, 1.0]).with_label_values(&["q"]).observe(0.4);
    metrics.gauge("depth", "Depth.", &[]).with_label_values::<&str>(&[]).set(-2);
    let read = parse(&metrics.encode()).expect("valid");
    assert_eq!(read.families.len(), 3);
    assert_eq!(read.families["trangtien_wallet_wait_seconds"].kind, Kind::Histogram);
    assert_eq!(read.samples(), 1 + 5 + 1);
}

#[test]
fn faults_are_refused_with_their_line() {
    let faults = [
        ("a 1", 1, "the last line"),
        ("a\n", 1, "a value"),
        ("1a 1\n", 1, "not a metric name"),
        ("a one\n", 1, "not a number"),
        ("a 0x10\n", 1, "not a number"),
        ("a 1 2 3\n", 1, "at most a time"),
        ("a 1 soon\n", 1, "not a time"),
        ("a{b=\"1\" 1\n", 1, "commas"),
        ("a{b=\"1} 1\n", 1, "ends"),
        ("a{b=\"\\x\"} 1\n", 1, "escape"),
        ("a{b=\"1\",b=\"2\"} 1\n", 1, "twice"),
        ("a{1b=\"1\"} 1\n", 1, "label name"),
        ("a 1\na 2\n", 2, "twice"),
        ("a 1\nb 1\na{c=\"1\"} 2\n", 3, "two places"),
        ("a 1\n# TYPE a counter\n", 2, "after its samples"),
        ("# TYPE a counter\n# TYPE a counter\n", 2, "second TYPE"),
        ("# HELP a x\n# HELP a y\n", 2, "second HELP"),
        ("# TYPE a thing\n", 1, "unknown type"),
        ("# TYPE a histogram\na_bucket 1\n", 2, "do not go together"),
        ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n", 4, "not whole"),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n", 4, "not whole"),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n", 5, "fall"),
        ("# TYPE a_count counter\na_count 1\n# TYPE a summary\na_sum 1\na_count 2\n", 5, "another family"),
    ];
    for (text, line, reason) in faults {
        let error = parse(text).expect_err(text);
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
}

#[test]
fn one_family_of_two_roles_stands_once() {
    let part = |service: &str, text: &str| Part {
        service: service.to_owned(),
        instance: "i".to_owned(),
        exposition: parse(text).expect("valid"),
    };
    let (whole, conflicts) = merge(vec![
        part("identity", "# TYPE up gauge\nup 1\n"),
        part("wallet", "# HELP up Whether it runs.\n# TYPE up gauge\nup 1\nother{instance=\"own\"} 2\n"),
        part("odd", "# TYPE up counter\nup 1\n"),
        part("wallet", "# TYPE up gauge\nup 0\n"),
    ]);
    assert_eq!(
        whole.write(),
        concat!(
            "# TYPE other untyped\nother{instance=\"own\",service=\"wallet\"} 2\n",
            "# HELP up Whether it runs.\n# TYPE up gauge\n",
            "up{instance=\"i\",service=\"identity\"} 1\nup{instance=\"i\",service=\"wallet\"} 1\n"
        )
    );
    let left_out = |service: &str| conflicts.get(&(service.to_owned(), "i".to_owned())).copied();
    assert_eq!((left_out("odd"), left_out("wallet"), left_out("identity")), (Some(1), Some(1), None));
}

fn label_value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,4}", "[\\\\\"\n{},= é₫#]{0,5}"]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[ab]|service|instance", label_value(), 0..4)
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<f64>().prop_map(|number| match number {
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            number => number.to_string(),
        }),
        any::<u32>().prop_map(|number| number.to_string()),
        Just("NaN".to_owned()),
    ];
    (text, prop::option::weighted(0.1, any::<i64>())).prop_map(|(text, timestamp_ms)| Value { text, timestamp_ms })
}

fn plain(name: String, kind: Kind) -> impl Strategy<Value = Family> {
    let samples = prop::collection::btree_map(labels(), value(), 0..5);
    (samples, prop::option::of("[^ \t].{0,10}|[\\\\\n]{1,3}")).prop_map(move |(samples, help)| {
        let samples =
            samples.into_iter().map(|(labels, value)| (Series { labels, name: name.clone(), bound: None }, value));
        Family { kind, help, samples: samples.collect() }
    })
}

fn histogram(name: String) -> impl Strategy<Value = Family> {
    let set = (prop::collection::btree_set(-5i32..5, 0..4), prop::collection::vec(0u64..9, 5));
    prop::collection::btree_map(labels(), set, 0..3).prop_map(move |sets| {
        let mut samples = BTreeMap::new();
        let plain = |text: String| Value { text, timestamp_ms: None };
        for (labels, (bounds, steps)) in sets {
            let series = |suffix: &str, le: Option<String>| Series {
                labels: labels.clone(),
                name: format!("{name}{suffix}"),
                bound: le.map(|text| Bound { label: "le", text }),
            };
            let mut count = 0;
            let texts = bounds.into_iter().map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
            for (le, step) in texts.zip(steps) {
                count += step;
                samples.insert(series("_bucket", Some(le)), plain(count.to_string()));
            }
            samples.insert(series("_sum", None), plain("0.25".to_owned()));
            samples.insert(series("_count", None), plain(count.to_string()));
        }
        Family { kind: Kind::Histogram, help: Some("A histogram.".to_owned()), samples }
    })
}

/// Few names, so that parts share families, also with another type and with samples of the same name (`m_a` as histogram, `m_a_sum` as counter).
fn family() -> impl Strategy<Value = (String, Family)> {
    let kinds = prop_oneof![Just(Kind::Counter), Just(Kind::Gauge), Just(Kind::Untyped)];
    let one = ("m_[ab](_sum)?", kinds).prop_flat_map(|(name, kind)| (Just(name.clone()), plain(name, kind)));
    let many = "m_[abc]".prop_flat_map(|name: String| (Just(name.clone()), histogram(name)));
    prop_oneof![one.boxed(), many.boxed()]
}

fn exposition() -> impl Strategy<Value = Exposition> {
    prop::collection::vec(family(), 0..4).prop_map(|families| {
        let mut whole = Exposition::default();
        for (name, family) in families {
            let names = |name: &str, family: &Family| {
                let samples = family.samples.keys().map(|series| series.name.clone());
                samples.chain([name.to_owned()]).collect::<std::collections::BTreeSet<_>>()
            };
            let new = names(&name, &family);
            if whole.families.iter().all(|(known, family)| names(known, family).is_disjoint(&new)) {
                whole.families.insert(name, family);
            }
        }
        whole
    })
}

proptest! {
    #[test]
    fn written_and_read_again_is_the_same(exposition in exposition()) {
        prop_assert_eq!(parse(&exposition.write()), Ok(exposition));
    }

    #[test]
    fn nothing_makes_reading_panic(text in "[am_ {}=\"\\\\,#\n+-.0-9eTYPEHL]{0,80}\n") {
        if let Ok(read) = parse(&text) {
            prop_assert_eq!(parse(&read.write()), Ok(read));
        }
    }

    #[test]
    fn joining_stays_valid_and_loses_nothing_silently(
        parts in prop::collection::vec((0u8..3, 0u8..2, exposition()), 0..5),
    ) {
        let parts: Vec<Part> = parts
            .into_iter()
            .map(|(service, instance, exposition)| Part {
                service: format!("s{service}"),
                instance: format!("i{instance}"),
                exposition,
            })
            .collect();
        let given: usize = parts.iter().map(|part| part.exposition.samples()).sum();
        let (whole, conflicts) = merge(parts.clone());
        prop_assert_eq!(parse(&whole.write()), Ok(whole.clone()));
        let left_out: u64 = conflicts.values().sum();
        prop_assert_eq!(whole.samples() as u64 + left_out, given as u64);
        for series in whole.families.values().flat_map(|family| family.samples.keys()) {
            prop_assert!(series.labels.contains_key("service") && series.labels.contains_key("instance"));
        }
        // The first part is never in conflict with anything but itself.
        if let Some(first) = parts.first() {
            for (name, family) in &first.exposition.families {
                prop_assert_eq!(whole.families[name].kind, family.kind);
            }
        }
    }
}
