//! The web pages, built by `services/web` and embedded when the program is compiled.
//!
//! Built files have their hash in the name and never change; everything else is asked for again with its ETag.
//! The pages run no inline script and load nothing from elsewhere; the policy below holds them to it. Forms may lead to another
//! site: the one that signs out ends at the OpenID provider.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use platform::problem::{NOT_FOUND, Problem};
use rust_embed::{EmbeddedFile, RustEmbed};
use tower_http::compression::CompressionLayer;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'self' https:; frame-ancestors 'none'",
);
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// What is shown while the pages were not built with the program.
const UNBUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Tràng Tiền</title>\
<h1>Tràng Tiền</h1>\
<p>The city is running, but its web pages were not built with this program. In the project's folder (Node.js ≥ 18):</p>\
<pre>cd services/web &amp;&amp; npm install &amp;&amp; npm run build &amp;&amp; cd ../.. &amp;&amp; cargo build</pre>\
<p lang=\"vi\">Thành phố đang chạy, nhưng các trang web chưa được dựng cùng chương trình. Hãy chạy các lệnh trên trong thư mục của dự án.</p>\
<p><a href=\"/docs\">API</a> · <a href=\"/openapi.json\">OpenAPI</a> · <a href=\"/ioc/v1/overview\">overview</a></p></html>";

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Built;

/// The routes of the pages.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { page("index.html", &headers) }))
        .route("/ioc", get(|headers: HeaderMap| async move { page("ioc.html", &headers) }))
        .route("/favicon.svg", get(|headers: HeaderMap| async move { file("favicon.svg", ASK_AGAIN, &headers) }))
        .route("/theme.js", get(|headers: HeaderMap| async move { file("theme.js", ASK_AGAIN, &headers) }))
        .route("/assets/{*name}", get(asset))
        .layer(CompressionLayer::new())
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{name}"), FOREVER, &headers)
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    match Built::get(name) {
        Some(built) => answer(name, &built, ASK_AGAIN, headers),
        None => secured((StatusCode::OK, [(CACHE_CONTROL, ASK_AGAIN)], axum::response::Html(UNBUILT)).into_response()),
    }
}

fn file(name: &str, caching: HeaderValue, headers: &HeaderMap) -> Response {
    match Built::get(name) {
        Some(built) => answer(name, &built, caching, headers),
        None => Problem::new(NOT_FOUND).into_response(),
    }
}

fn answer(name: &str, built: &EmbeddedFile, caching: HeaderValue, headers: &HeaderMap) -> Response {
    // Weak, because the same file may travel compressed.
    let tag = format!("W/\"{}\"", hex::encode(&built.metadata.sha256_hash()[..16]));
    let tag_value = HeaderValue::from_str(&tag).expect("hexadecimal digits are a header value");
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fresh = known.split(',').any(|known| matches!(known.trim(), known if known == tag || known == "*"));
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, content_type(name))], built.data.clone().into_owned()).into_response()
    };
    response.headers_mut().insert(ETAG, tag_value);
    response.headers_mut().insert(CACHE_CONTROL, caching);
    secured(response)
}

fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER, HeaderValue::from_static("same-origin"));
    response
}

fn content_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    })
}
