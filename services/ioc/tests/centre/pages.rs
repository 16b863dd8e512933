//! The embedded pages and how they travel. They may be built or not; both are whole pages.

use crate::stage::{Stage, open};

#[tokio::test]
async fn pages_are_safe_and_cached_rightly() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    let client = reqwest::Client::new();
    for path in ["/", "/ioc"] {
        let answer = client.get(format!("{}{path}", centre.url)).send().await.expect("answered");
        assert_eq!(answer.status(), 200);
        let headers = answer.headers().clone();
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(headers["content-type"].to_str().expect("text").starts_with("text/html"));
        let body = answer.text().await.expect("text");
        let Some(tag) = headers.get("etag") else {
            assert!(body.contains("npm run build"), "an unbuilt page says how to build it");
            continue;
        };
        assert!(!body.contains("<script>"), "no inline script");
        let again =
            client.get(format!("{}{path}", centre.url)).header("if-none-match", tag).send().await.expect("answered");
        assert_eq!(again.status(), 304);
        let script =
            body.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js")).expect("a script");
        let asset = client
            .get(format!("{}{script}", centre.url))
            .header("accept-encoding", "gzip")
            .send()
            .await
            .expect("answered");
        assert_eq!(asset.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(asset.headers()["content-encoding"], "gzip");
        assert_eq!(asset.headers()["content-type"], "text/javascript; charset=utf-8");
    }
    let missing = client.get(format!("{}/assets/../Cargo.toml", centre.url)).send().await.expect("answered");
    assert_eq!(missing.status(), 404);
    let missing = client.get(format!("{}/assets/none.js", centre.url)).send().await.expect("answered");
    assert_eq!(missing.status(), 404);
}
