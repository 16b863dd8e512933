//! Where keys and revocations come from.

use async_trait::async_trait;
use proto::auth::v1::key_service_client::KeyServiceClient;
use proto::auth::v1::{GetKeysRequest, ListRevocationsRequest};
use uuid::Uuid;

use crate::rpc::Channel;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The issuer's public keys.
#[derive(Clone, Debug)]
pub struct PublicKeys {
    /// RFC 7517 JSON Web Key Set.
    pub jwks_json: String,
    /// The `iss` that tokens carry.
    pub issuer: String,
}

/// Whose tokens are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// All of a session (`sid`).
    Session(Uuid),
    /// Those of a person that say roles which are no longer theirs.
    Roles {
        /// The person (`sub`).
        subject: Uuid,
        /// Tokens with a lower `role_epoch` are refused.
        epoch: u32,
    },
}

/// Tokens that are refused before they expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose.
    pub what: Revoked,
    /// Unix seconds after which all of them have expired by themselves.
    pub forget_at: i64,
}

/// Some revocations, and the position up to which they are complete.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    /// In any order.
    pub items: Vec<Revocation>,
    /// The position of the newest item, or the asked one when there is none.
    pub position: i64,
}

/// Gives keys and revocations.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The current key set.
    async fn keys(&self) -> Result<PublicKeys, BoxError>;
    /// Revocations after a position, at most 1,000.
    async fn revocations(&self, after: i64) -> Result<Revocations, BoxError>;
}

/// The issuer reached by gRPC.
#[derive(Clone, Debug)]
pub struct GrpcKeySource(KeyServiceClient<Channel>);

impl GrpcKeySource {
    /// Asks through `channel`.
    pub fn new(channel: Channel) -> Self {
        Self(KeyServiceClient::new(channel))
    }
}

#[async_trait]
impl KeySource for GrpcKeySource {
    async fn keys(&self) -> Result<PublicKeys, BoxError> {
        let answer = self.0.clone().get_keys(GetKeysRequest {}).await?.into_inner();
        Ok(PublicKeys { jwks_json: answer.jwks_json, issuer: answer.issuer })
    }

    async fn revocations(&self, after: i64) -> Result<Revocations, BoxError> {
        let request = ListRevocationsRequest { after_position: after };
        let answer = self.0.clone().list_revocations(request).await?.into_inner();
        let mut found = Revocations { items: Vec::with_capacity(answer.revocations.len()), position: after };
        for revocation in answer.revocations {
            found.position = found.position.max(revocation.position);
            let what = Revoked::Session(revocation.session_id.parse()?);
            found.items.push(Revocation { what, forget_at: revocation.forget_at });
        }
        for taken in answer.roles {
            found.position = found.position.max(taken.position);
            let what = Revoked::Roles { subject: taken.user_id.parse()?, epoch: taken.role_epoch };
            found.items.push(Revocation { what, forget_at: taken.forget_at });
        }
        Ok(found)
    }
}
