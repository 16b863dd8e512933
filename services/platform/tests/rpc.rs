//! gRPC between roles: the same answer in process and over mutual TLS, and nothing without a certificate of ours.

use std::path::Path;

use platform::embedded::scratch::TestFolder;
use platform::metrics::Metrics;
use platform::rpc::{self, CallMetrics, CallSettings, Channel, InboundLayer, PEER_DOMAIN, TlsSettings, require_peer};
use platform::task::Shutdown;
use proto::auth::v1::key_service_client::KeyServiceClient;
use proto::auth::v1::key_service_server::{KeyService, KeyServiceServer};
use proto::auth::v1::{GetKeysRequest, GetKeysResponse, ListRevocationsRequest, ListRevocationsResponse};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

struct Keys;

#[tonic::async_trait]
impl KeyService for Keys {
    async fn get_keys(&self, request: Request<GetKeysRequest>) -> Result<Response<GetKeysResponse>, Status> {
        require_peer(&request, &["wallet"])?;
        let issuer = platform::trace::current_traceparent().unwrap_or_default();
        Ok(Response::new(GetKeysResponse { jwks_json: String::new(), issuer }))
    }

    async fn list_revocations(
        &self,
        _: Request<ListRevocationsRequest>,
    ) -> Result<Response<ListRevocationsResponse>, Status> {
        Err(Status::from(platform::problem::Problem::new(platform::problem::NOT_FOUND)))
    }
}

fn routes() -> Routes {
    Routes::new(KeyServiceServer::new(Keys))
}

fn calls(role: &str) -> CallMetrics {
    CallMetrics::new(&Metrics::new(role, "test"))
}

fn inbound() -> InboundLayer {
    InboundLayer::new(&Metrics::new("identity", "test"))
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs itself")
}

fn issue(authority: &Authority, role: &str, folder: &Path) -> TlsSettings {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![format!("{role}.{PEER_DOMAIN}")]).expect("a valid name");
    let certificate = params.signed_by(&key, authority).expect("signed");
    let settings = TlsSettings {
        ca: folder.join(format!("{role}-ca.pem")),
        certificate: folder.join(format!("{role}.pem")),
        key: folder.join(format!("{role}.key")),
    };
    std::fs::write(&settings.ca, authority.pem()).expect("writable");
    std::fs::write(&settings.certificate, certificate.pem()).expect("writable");
    std::fs::write(&settings.key, key.serialize_pem()).expect("writable");
    settings
}

async fn serve(authority: &Authority, folder: &Path, shutdown: &Shutdown) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let (tls, shutdown) = (issue(authority, "identity", folder), shutdown.clone());
    tokio::spawn(async move { rpc::serve(listener, routes(), inbound(), &tls, shutdown).await });
    address
}

fn connect(address: &str, tls: &TlsSettings) -> Channel {
    rpc::connect("identity", address, tls, &calls("client"), CallSettings::default()).expect("valid settings")
}

async fn get(channel: Channel) -> Result<GetKeysResponse, Status> {
    KeyServiceClient::new(channel).get_keys(GetKeysRequest {}).await.map(Response::into_inner)
}

#[tokio::test]
async fn both_transports_say_who_calls_and_carry_the_trace() {
    let (folder, shutdown, authority) = (TestFolder::new("rpc").expect("a folder"), Shutdown::new(), authority());
    let address = serve(&authority, folder.path(), &shutdown).await;
    for role in ["wallet", "reports"] {
        let remote = connect(&address, &issue(&authority, role, folder.path()));
        let local = rpc::in_process(role, routes(), inbound(), &calls("client"), CallSettings::default());
        for channel in [remote, local] {
            let context = platform::trace::TraceContext::root();
            let answer = platform::trace::scope(context, get(channel)).await;
            match role {
                "wallet" => assert!(answer.expect("allowed").issuer.contains(&context.trace_id())),
                _ => assert_eq!(answer.expect_err("refused").code(), Code::PermissionDenied),
            }
        }
    }
    shutdown.begin();
}

#[tokio::test]
async fn a_problem_crosses_the_wire_whole() {
    let channel = rpc::in_process("wallet", routes(), inbound(), &calls("client"), CallSettings::default());
    let status = KeyServiceClient::new(channel).list_revocations(ListRevocationsRequest { after_position: 0 }).await;
    let problem = platform::problem::Problem::from_status(&status.expect_err("refused"));
    assert_eq!((problem.code(), problem.status()), ("not-found", 404));
}

#[tokio::test]
async fn a_stranger_gets_nothing() {
    let (folder, shutdown, ours) = (TestFolder::new("rpc").expect("a folder"), Shutdown::new(), authority());
    let address = serve(&ours, folder.path(), &shutdown).await;
    let mut stranger = issue(&authority(), "wallet", folder.path());
    // It trusts our server, but its own certificate comes from another authority.
    stranger.ca = folder.path().join("identity-ca.pem");
    assert_eq!(get(connect(&address, &stranger)).await.expect_err("refused").code(), Code::Unavailable);
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("valid").connect_lazy();
    let answer = KeyServiceClient::new(plain).get_keys(GetKeysRequest {}).await;
    assert!(answer.is_err(), "plain text gets nothing");
    shutdown.begin();
}
