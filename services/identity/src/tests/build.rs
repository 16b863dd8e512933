//! What stops the start, and what does not.

use std::sync::Arc;

use platform::config::Secret;
use platform::metrics::Metrics;

use crate::testing::{Stage, config};
use crate::{BuildError, Config, Deps, build};

async fn refused(stage: &Stage, config: Config) -> BuildError {
    let mut context = stage.context.clone();
    context.metrics = Metrics::new("identity", "refused");
    build(config, Deps { context }).await.expect_err("the start is refused")
}

#[tokio::test]
async fn missing_secrets_and_wrong_settings_are_named() {
    let stage = Stage::new().await;
    let error = refused(&stage, Config { region: Some("VN".to_owned()), ..Config::default() }).await;
    assert!(error.to_string().starts_with("identity.keys.otp_hmac is not set"), "{error}");
    let mut short = config();
    short.keys.pin_pepper = Secret::new("short");
    assert!(matches!(refused(&stage, short).await, BuildError::Keys(_)));
    let mut eternal = config();
    eternal.lifetimes.access_token_seconds = u32::MAX;
    assert!(refused(&stage, eternal).await.to_string().contains("access_token_seconds"));
    let nowhere = Config { region: Some("ZZ".to_owned()), ..config() };
    assert!(refused(&stage, nowhere).await.to_string().contains("`ZZ` is not a region"));
}

#[tokio::test]
async fn the_city_says_how_numbers_are_read() {
    let stage = Stage::new().await;
    let mut context = stage.context.clone();
    context.metrics = Metrics::new("identity", "city");
    context.city = Arc::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/city/hue").into());
    let service = build(Config { region: None, ..config() }, Deps { context: context.clone() }).await.expect("built");
    assert!(service.grpc.is_some() && service.tasks.len() == 6);
    context.metrics = Metrics::new("identity", "nowhere");
    context.city = Arc::new("/nonexistent".into());
    let error = build(Config { region: None, ..config() }, Deps { context }).await.expect_err("no city");
    assert!(error.to_string().contains("city.toml"), "{error}");
}
