//! One keep-alive connection to a server: a request, its answer, and the next. One that broke is opened again.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// An answer, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as text, for messages.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("no text")
    }

    /// The JSON body, if the status is this one.
    pub(crate) fn expect(&self, status: StatusCode) -> anyhow::Result<serde_json::Value> {
        anyhow::ensure!(self.status == status, "{}: {}", self.status, self.text());
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// One connection.
pub(crate) struct Connection {
    server: SocketAddr,
    host: HeaderValue,
    /// None after it broke.
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Opens it.
    pub(crate) async fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let host = HeaderValue::from_str(&server.to_string())?;
        Ok(Self { server, host, sender: Some(connect(server).await?) })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let asked = tokio::time::timeout(ANSWER_LIMIT, self.ask(request)).await;
        asked.with_context(|| format!("no answer within {ANSWER_LIMIT:?}"))?
    }

    async fn ask(&mut self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => connect(self.server).await?,
        };
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status, body })
    }
}

/// Opens a stream that the server goes on with: the body of a `GET`.
pub(crate) async fn open_stream(server: SocketAddr, path: &str, who: &HeaderValue) -> anyhow::Result<Incoming> {
    let mut sender = connect(server).await?;
    let request = Request::get(path).header(header::HOST, server.to_string()).header(header::AUTHORIZATION, who);
    let request = request.body(Full::default())?;
    let response = tokio::time::timeout(ANSWER_LIMIT, sender.send_request(request)).await??;
    anyhow::ensure!(response.status() == StatusCode::OK, "{path}: {}", response.status());
    Ok(response.into_body())
}

async fn connect(server: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; what breaks it is seen there.
    tokio::spawn(connection);
    Ok(sender)
}
