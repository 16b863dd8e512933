//! The shared metrics endpoint: every role of every process, also the one that is missing.

use std::collections::BTreeMap;

use ioc::metrics::{Exposition, Family, READY, READY_HELP, parse};
use ioc::peers::{Discover, Peer};
use platform::metrics::Metrics;
use platform::task::Shutdown;

use crate::stage::{Stage, open, serve};

/// A process that answers, ready or not, and says so in its metrics as well.
async fn peer(metrics: Metrics, (service, instance, ready): (&str, &str, bool), shutdown: &Shutdown) -> String {
    let family = Family::fact(READY, READY_HELP, [((service.to_owned(), instance.to_owned()), ready)]);
    let said = Exposition { families: BTreeMap::from([(READY.to_owned(), family)]) }.write();
    let readyz = move || async move {
        let status = if ready { http::StatusCode::OK } else { http::StatusCode::SERVICE_UNAVAILABLE };
        (status, if ready { "ok" } else { "redis does not answer" })
    };
    let router = axum::Router::new()
        .route("/metrics", axum::routing::get(move || async move { metrics.encode() + &said }))
        .route("/readyz", axum::routing::get(readyz));
    serve(router, shutdown).await
}

fn static_peer(service: &str, url: &str) -> Peer {
    Peer { services: vec![service.to_owned()], url: url.parse().expect("a URL"), discover: Discover::Static }
}

fn up(exposition: &Exposition, service: &str, instance: &str) -> Option<String> {
    fact(exposition, "trangtien_up", (service, instance))
}

fn fact(exposition: &Exposition, name: &str, (service, instance): (&str, &str)) -> Option<String> {
    let samples = &exposition.families[name].samples;
    let found =
        samples.iter().find(|(series, _)| series.labels["service"] == service && series.labels["instance"] == instance);
    found.map(|(_, value)| value.text.clone())
}

#[tokio::test]
async fn every_role_is_there_and_a_missing_one_shows_as_down() {
    let stage = Stage::new().await;
    let shutdown = Shutdown::new();
    let [wallet, reports] = [("wallet", "w-1"), ("reports", "r-1")].map(|(service, instance)| {
        let metrics = Metrics::new(service, instance);
        metrics.counter("things_total", "Things.", &["kind"]).with_label_values(&["one"]).inc_by(3);
        metrics.histogram("wait_seconds", "Waiting.", &[], &[1.0]).with_label_values::<&str>(&[]).observe(0.5);
        metrics
    });
    let wallet_url = peer(wallet, ("wallet", "w-1", true), &shutdown).await;
    let reports_url = peer(reports, ("reports", "r-1", false), &shutdown).await;
    let by_name =
        Peer { discover: Discover::Dns, ..static_peer("reports", &reports_url.replace("127.0.0.1", "localhost")) };
    let peers = vec![
        static_peer("wallet", &wallet_url),
        by_name,
        static_peer("identity", "http://127.0.0.1:1"),
        Peer { discover: Discover::Dns, ..static_peer("notifications", "http://nobody.invalid:80") },
    ];
    let centre = stage.centre("c-1", ioc::Config { peers, ..open() }).await;

    let answer = reqwest::get(format!("{}/ioc/v1/metrics", centre.url)).await.expect("answered");
    assert!(answer.headers()["content-type"].to_str().expect("text").starts_with("text/plain; version=0.0.4"));
    let text = answer.text().await.expect("text");
    let whole = parse(&text).expect("valid");
    assert_eq!(up(&whole, "wallet", "w-1").as_deref(), Some("1"));
    assert_eq!(up(&whole, "reports", "r-1").as_deref(), Some("1"), "an instance tells its own name: {text}");
    assert_eq!(up(&whole, "ioc", "c-1").as_deref(), Some("1"));
    assert_eq!(up(&whole, "identity", "127.0.0.1:1").as_deref(), Some("0"));
    assert_eq!(up(&whole, "notifications", "nobody.invalid:80").as_deref(), Some("0"));
    let ready = |service, instance| fact(&whole, READY, (service, instance));
    assert_eq!(ready("wallet", "w-1").as_deref(), Some("1"));
    assert_eq!(ready("reports", "r-1").as_deref(), Some("0"), "it answers, and can serve nobody");
    assert_eq!(ready("identity", "127.0.0.1:1").as_deref(), Some("0"), "what is down is not ready");
    let things = &whole.families["trangtien_wallet_things_total"];
    assert_eq!((things.kind, things.help.as_deref()), (ioc::metrics::Kind::Counter, Some("Things.")));
    assert!(text.contains(r#"trangtien_wallet_things_total{instance="w-1",kind="one",service="wallet"} 3"#), "{text}");

    let overview = centre.overview_when("peers are asked", |overview| overview.roles.len() >= 5).await;
    let role = |service: &str| overview.roles.iter().find(|role| role.service == service).expect("reported");
    assert!(role("wallet").ready);
    assert!(role("reports").up && !role("reports").ready);
    assert!(role("reports").detail.as_deref().is_some_and(|detail| detail.contains("redis does not answer")));
    assert!(!role("identity").up && !role("notifications").up);
}

#[tokio::test]
async fn a_peer_that_answers_nonsense_is_down_and_spoils_nothing() {
    let stage = Stage::new().await;
    let shutdown = Shutdown::new();
    let router = axum::Router::new().route("/metrics", axum::routing::get(|| async { "one two three four" }));
    let odd = serve(router, &shutdown).await;
    let peers = vec![static_peer("wallet", &odd)];
    let centre = stage.centre("c-1", ioc::Config { peers, ..open() }).await;
    let text =
        reqwest::get(format!("{}/ioc/v1/metrics", centre.url)).await.expect("answered").text().await.expect("text");
    let whole = parse(&text).expect("valid");
    assert_eq!(up(&whole, "wallet", odd.trim_start_matches("http://")).as_deref(), Some("0"));
    assert_eq!(up(&whole, "ioc", "c-1").as_deref(), Some("1"));
}
