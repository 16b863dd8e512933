//! Spans reach an OpenTelemetry collector over OTLP: those of one request carry its trace id through every role that works for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use harness::{City, Shape, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// A span as it arrived.
#[derive(Clone, Debug)]
struct Seen {
    trace: String,
    span: String,
    parent: String,
    name: String,
    instance: String,
}

/// A collector that keeps what it is sent.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

impl Collector {
    /// Serves on a free port; gives its endpoint.
    async fn start() -> Result<(Self, String)> {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok((collector, endpoint))
    }

    /// The spans of one trace.
    fn of(&self, trace: &str) -> Vec<Seen> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|span| span.trace == trace).cloned().collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let instance = attributes.into_iter().find(|attribute| attribute.key == "service.instance.id");
            let instance = instance.and_then(|attribute| attribute.value).and_then(|value| value.value);
            let instance = if let Some(Attribute::StringValue(text)) = instance { text } else { String::new() };
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.push(Seen {
                    trace: hex(&span.trace_id),
                    span: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name,
                    instance: instance.clone(),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks for a one-time code inside a trace of the client's; gives what the collector saw of it once `whole` holds.
async fn traced(shape: Shape, whole: fn(&[Seen]) -> bool) -> Result<Vec<Seen>> {
    let (collector, endpoint) = Collector::start().await?;
    let city = City::start_with(shape, &[("TRANGTIEN_TELEMETRY__OTLP_ENDPOINT", &endpoint)]).await?;
    let (trace, parent) = (Uuid::new_v4().simple().to_string(), "00f067aa0ba902b7");
    let body = json!({"phone": "+84905123456", "purpose": "sign-in", "device_id": Uuid::new_v4()});
    let request = city.visitor()?.request(Method::POST, "/identity/v1/otp")?;
    let answer = request.header("traceparent", format!("00-{trace}-{parent}-01")).json(&body).send().await?;
    ensure!(answer.status().as_u16() == 202, "{answer:?}");
    let told = answer.headers().get("x-request-id").context("x-request-id")?.to_str()?.to_owned();
    ensure!(told == trace, "the client is told the trace's id: {told}");
    let spans = eventually("the spans of the request", || async {
        let spans = collector.of(&trace);
        // A span is sent when it ends: children come before their parents.
        let known: BTreeSet<_> = spans.iter().map(|span| span.span.as_str()).chain([parent]).collect();
        let hang_together = spans.iter().all(|span| known.contains(span.parent.as_str()));
        if whole(&spans) && hang_together { Ok(Some(spans)) } else { anyhow::bail!("so far: {spans:?}") }
    })
    .await?;
    city.finish().await?;
    let first = spans.iter().find(|span| span.parent == parent).context("a child of the client's span")?;
    ensure!(first.name == "http request", "{first:?}");
    Ok(spans)
}

#[tokio::test]
async fn the_spans_of_a_request_reach_the_collector() -> Result<()> {
    traced(Shape::AllInOne, |spans| spans.len() >= 3).await.map(|_| ())
}

#[tokio::test]
async fn a_trace_goes_through_the_processes_of_a_split_city() -> Result<()> {
    // The gateway, identity, and notifications, which got the event and asked identity for the code.
    let everybody = |spans: &[Seen]| {
        let has = |start: &str| spans.iter().any(|span| span.instance.starts_with(start));
        has("up") && has("identity:") && has("notifications:")
    };
    traced(Shape::Split, everybody).await.map(|_| ())
}
