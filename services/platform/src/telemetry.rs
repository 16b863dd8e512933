//! Logs to standard error, and spans to an OpenTelemetry collector when one is configured.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Whether spans are exported, so that linking them is worth its cost.
pub(crate) fn exports() -> bool {
    EXPORTS.load(Ordering::Relaxed)
}

/// What is logged and where spans go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// A filter in the `tracing` crate's directive syntax, for instance `info,wallet=debug`.
    pub log: String,
    /// How log lines look.
    pub format: LogFormat,
    /// OTLP/gRPC endpoint of a collector, for instance `http://localhost:4317`; empty = spans are not exported.
    pub otlp_endpoint: String,
    /// Share of traces that are exported, 0 to 1.
    pub sample_ratio: f64,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            log: "info,sqlx=warn,h2=warn,hyper=warn".to_owned(),
            format: LogFormat::Text,
            otlp_endpoint: String::new(),
            sample_ratio: 1.0,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Keeps the exporter alive; flushes it when dropped.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            EXPORTS.store(false, Ordering::Relaxed);
            // Nothing is left to report a failure to: logging ends here too.
            let _ = provider.shutdown();
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not valid.
    #[error("telemetry.log is not a valid filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The collector's endpoint is not valid.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(String),
}

/// Sets up logging and tracing for the whole process; call once, inside the runtime.
///
/// # Errors
/// When the filter or the endpoint is not valid. A second call changes nothing.
pub fn init(settings: &TelemetrySettings, instance: &str) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&settings.log)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(true);
    let lines = match settings.format {
        LogFormat::Text => lines.compact().with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let provider = match settings.otlp_endpoint.as_str() {
        "" => None,
        endpoint => Some(provider(endpoint, settings.sample_ratio, instance)?),
    };
    // The filter of log lines must not decide which spans are exported.
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("trangtien")).with_filter(LevelFilter::INFO)
    });
    EXPORTS.store(provider.is_some(), Ordering::Relaxed);
    // Fails only when a subscriber is set already, as in tests that build several cities.
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
    Ok(Telemetry(provider))
}

fn provider(endpoint: &str, ratio: f64, instance: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let resource = Resource::builder()
        .with_service_name("trangtien")
        .with_attribute(opentelemetry::KeyValue::new("service.instance.id", instance.to_owned()))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build())
}
