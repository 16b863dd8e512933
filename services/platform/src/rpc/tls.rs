//! Mutual TLS between processes. A certificate names its roles as DNS names under [`PEER_DOMAIN`].
//!
//! Invariant: a connection without a client certificate from our own authority gets nothing.

use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::inbound::{InboundLayer, Peer};
use crate::task::Shutdown;

/// Role `wallet` has the name `wallet.trangtien.internal` in its certificate.
pub const PEER_DOMAIN: &str = "trangtien.internal";
/// The longest time to make a connection, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Streams at a time on one connection.
const MAX_STREAMS: u32 = 1_000;

/// Where a process's certificate lies, and the authority that it trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM certificate of the authority that signs all roles' certificates.
    pub ca: PathBuf,
    /// PEM certificate of this process.
    pub certificate: PathBuf,
    /// PEM private key of this process.
    pub key: PathBuf,
}

/// Why mutual TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address, certificate or key is not valid.
    #[error("mutual TLS: {0}")]
    Invalid(#[from] tonic::transport::Error),
}

impl TlsSettings {
    fn read(path: &PathBuf) -> Result<Vec<u8>, TlsError> {
        std::fs::read(path).map_err(|source| TlsError::File { path: path.clone(), source })
    }

    fn identity(&self) -> Result<Identity, TlsError> {
        Ok(Identity::from_pem(Self::read(&self.certificate)?, Self::read(&self.key)?))
    }

    fn authority(&self) -> Result<Certificate, TlsError> {
        Ok(Certificate::from_pem(Self::read(&self.ca)?))
    }
}

pub(super) fn client(role: &str, address: &str, tls: &TlsSettings) -> Result<tonic::transport::Channel, TlsError> {
    let config = ClientTlsConfig::new()
        .ca_certificate(tls.authority()?)
        .identity(tls.identity()?)
        .domain_name(format!("{role}.{PEER_DOMAIN}"));
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(config)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(5));
    Ok(endpoint.connect_lazy())
}

/// Serves a process's gRPC routes over mutual TLS until shutdown begins, then drains.
///
/// # Errors
/// When the certificates are not valid or the listener breaks.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    inbound: InboundLayer,
    tls: &TlsSettings,
    shutdown: Shutdown,
) -> Result<(), TlsError> {
    let config =
        ServerTlsConfig::new().identity(tls.identity()?).client_ca_root(tls.authority()?).timeout(CONNECT_TIMEOUT);
    Server::builder()
        .tls_config(config)?
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .layer(inbound)
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move { shutdown.cancelled().await })
        .await?;
    Ok(())
}

/// The roles that a certificate names.
pub(super) fn roles_of_certificate(certificate: &CertificateDer<'_>) -> Option<Peer> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let suffix = format!(".{PEER_DOMAIN}");
    let roles = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_suffix(&suffix),
        _ => None,
    });
    Some(Peer::new(roles))
}
