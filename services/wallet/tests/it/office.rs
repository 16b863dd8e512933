//! An identity that hears what the wallet says to closings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, Channel, InboundLayer};
use proto::identity::v1::person_service_server::{PersonService, PersonServiceServer};
use proto::identity::v1::{
    AnswerClosingRequest, AnswerClosingResponse, ConfirmErasureRequest, ConfirmErasureResponse, PutExportPartRequest,
    PutExportPartResponse,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// A closing, and what stands against it.
type Answered = (Uuid, Vec<String>);
/// Of which copy it is, its bytes, and whether it is the last.
type Piece = (Uuid, Vec<u8>, bool);

/// Identity, as far as the wallet answers it.
#[derive(Clone, Default)]
pub(crate) struct Office {
    /// What the wallet said to closings, and which it said were erased.
    heard: Arc<Mutex<Vec<Answered>>>,
    erased: Arc<Mutex<Vec<Uuid>>>,
    /// What it was handed over, by the copy that was asked for.
    copies: Arc<Mutex<Vec<Piece>>>,
    /// Whether the closing is over for whoever answers.
    pub(crate) over: Arc<AtomicBool>,
    /// Whether its answers are lost.
    pub(crate) silent: Arc<AtomicBool>,
}

impl Office {
    /// The way to it.
    pub(crate) fn channel(&self, instance: &str) -> Channel {
        let metrics = Metrics::new("identity", instance);
        let routes = Routes::new(PersonServiceServer::new(self.clone()));
        let calls = CallMetrics::new(&metrics);
        platform::rpc::in_process("wallet", routes, InboundLayer::new(&metrics), &calls, CallSettings::default())
    }

    async fn answer<T>(&self, answer: T) -> Result<Response<T>, Status> {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(answer))
    }

    /// What was said last.
    pub(crate) fn last(&self, closing: Uuid) -> Vec<String> {
        let heard = self.heard.lock().expect("not poisoned");
        heard.iter().rev().find(|(id, _)| *id == closing).map(|(_, said)| said.clone()).expect("an answer")
    }

    /// A copy that was handed over whole.
    pub(crate) fn copy(&self, export: Uuid) -> Option<serde_json::Value> {
        let copies = self.copies.lock().expect("not poisoned");
        let parts: Vec<_> = copies.iter().filter(|(id, ..)| *id == export).collect();
        let whole = parts.last().is_some_and(|(_, _, last)| *last);
        let text: Vec<u8> = parts.iter().flat_map(|(_, text, _)| text.clone()).collect();
        whole.then(|| serde_json::from_slice(&text).expect("JSON"))
    }

    pub(crate) fn erased(&self, closing: Uuid) -> bool {
        self.erased.lock().expect("not poisoned").contains(&closing)
    }
}

pub(crate) fn id(text: &str) -> Uuid {
    text.parse().expect("an id")
}

#[tonic::async_trait]
impl PersonService for Office {
    async fn put_export_part(
        &self,
        request: Request<PutExportPartRequest>,
    ) -> Result<Response<PutExportPartResponse>, Status> {
        let PutExportPartRequest { export_id, text, last, .. } = request.into_inner();
        self.copies.lock().expect("not poisoned").push((id(&export_id), text, last));
        self.answer(PutExportPartResponse { done: false }).await
    }

    async fn answer_closing(
        &self,
        request: Request<AnswerClosingRequest>,
    ) -> Result<Response<AnswerClosingResponse>, Status> {
        let AnswerClosingRequest { closing_id, hindrances, .. } = request.into_inner();
        self.heard.lock().expect("not poisoned").push((id(&closing_id), hindrances));
        self.answer(AnswerClosingResponse { over: self.over.load(Ordering::SeqCst) }).await
    }

    async fn confirm_erasure(
        &self,
        request: Request<ConfirmErasureRequest>,
    ) -> Result<Response<ConfirmErasureResponse>, Status> {
        self.erased.lock().expect("not poisoned").push(id(&request.into_inner().closing_id));
        self.answer(ConfirmErasureResponse {}).await
    }
}
