//! The routes, asked as a client asks them.

use std::path::Path;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use platform::http::ApiRouter;
use serde_json::Value;
use tower::ServiceExt as _;
use utoipa_axum::routes;

use super::category;
use crate::city::City;

const MAX_ANSWER: usize = 1 << 16;

async fn get(path: &str, language: &str) -> (StatusCode, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
    let city = City::load(&folder).expect("the folder is sound");
    let open = ApiRouter::new().routes(routes!(category::list)).with_state(Arc::new(city));
    let (routes, _) = open.split_for_parts();
    let request = Request::get(path).header("accept-language", language).body(Body::empty()).expect("a plain request");
    let answer = routes.oneshot(request).await.expect("routes always answer");
    let status = answer.status();
    let bytes = to_bytes(answer.into_body(), MAX_ANSWER).await.expect("the answer is short");
    (status, serde_json::from_slice(&bytes).expect("the answer is JSON"))
}

#[tokio::test]
async fn categories_are_listed_in_the_clients_language() {
    let (status, page) = get("/reports/v1/categories", "en").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(page["items"].as_array().map(Vec::len), Some(10));
    assert_eq!(page["next_cursor"], Value::Null);
    assert_eq!(page["items"][0]["code"], "HT");
    assert_eq!(page["items"][0]["name"], "Roads and pavements");
    assert_eq!(page["items"][0]["lane"], "timed");
    let (_, page) = get("/reports/v1/categories", "vi").await;
    assert_eq!(page["items"][0]["name"], "Hạ tầng giao thông");
}

#[tokio::test]
async fn pages_join_without_gap_or_overlap() {
    let mut codes = Vec::new();
    let mut path = "/reports/v1/categories?limit=4".to_owned();
    for size in [4, 4, 2] {
        let (status, page) = get(&path, "en").await;
        assert_eq!(status, StatusCode::OK);
        let items = page["items"].as_array().expect("a page has items");
        assert_eq!(items.len(), size);
        codes.extend(items.iter().map(|item| item["code"].to_string()));
        let cursor = page["next_cursor"].as_str().unwrap_or_default();
        path = format!("/reports/v1/categories?limit=4&cursor={cursor}");
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 10);
    assert!(path.ends_with("cursor="), "the last page has no next");
}

#[tokio::test]
async fn bad_queries_are_problems() {
    for query in ["limit=0", "limit=201", "limit=many", "cursor=!", "colour=red", "cursor=Ii0xIg"] {
        let (status, problem) = get(&format!("/reports/v1/categories?{query}"), "en").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
        assert_eq!(problem["code"], "invalid-query", "{query}");
    }
}
