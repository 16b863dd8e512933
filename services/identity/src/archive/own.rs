//! Identity's own part of an archive, by a job.
//!
//! What proves something (hashes, digests, keys, secrets) is left out: it says nothing of a person and would help a thief.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use platform::job::{Job, JobHandler, Outcome};
use platform::person::{CopyError, PersonCopy, PersonKey, Section, Taker, page_of};
use proto::identity::v1::PutExportPartRequest;
use tracing::warn;

use super::{ArchiveId, Piece, sql};
use crate::citizen::{self, CitizenId};
use crate::error::Error;
use crate::{Identity, SCHEMA, device, passkey};

/// The kind of the job; its key is the archive's id.
pub(crate) const JOB: &str = "archive";
/// The pause after something did not work.
const PAUSE: TimeDelta = TimeDelta::seconds(10);

/// What identity keeps of a citizen.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "profile",
        sql: "SELECT c.id::text, jsonb_build_object('id', c.id, 'phone', encode(c.phone, 'hex'),
                'display_name', encode(c.display_name, 'hex'), 'language', c.language, 'tier', c.tier, 'created_at', c.created_at,
                'updated_at', c.updated_at)
            FROM identity.citizen c WHERE c.id = $1 AND ($2::text IS NULL OR c.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("phone", "citizen.phone"), ("display_name", "citizen.display_name")],
    },
    Section {
        name: "citizen_number",
        sql: "SELECT n.citizen_id::text, jsonb_build_object('id', n.citizen_id, 'number', encode(n.number, 'hex'),
                'full_name', encode(n.full_name, 'hex'), 'source', n.source, 'proved_at', n.proved_at)
            FROM identity.citizen_number n
            WHERE n.citizen_id = $1 AND ($2::text IS NULL OR n.citizen_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("number", "citizen_number.number"), ("full_name", "citizen_number.full_name")],
    },
    Section {
        name: "ekyc_requests",
        sql: "SELECT e.id::text, jsonb_build_object('id', e.id, 'state', e.state, 'claim', encode(e.claim, 'hex'), 'reason', e.reason,
                'asked_at', e.asked_at, 'decided_at', e.decided_at)
            FROM identity.ekyc e WHERE e.citizen_id = $1 AND ($2::text IS NULL OR e.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("claim", "ekyc.claim")],
    },
    Section {
        name: "vneid_links",
        sql: "SELECT v.citizen_id::text, jsonb_build_object('linked_at', v.linked_at) FROM identity.vneid_link v
            WHERE v.citizen_id = $1 AND ($2::text IS NULL OR v.citizen_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "vneid_visits",
        sql: "SELECT v.expires_at::text, jsonb_build_object('session_id', v.session_id, 'expires_at', v.expires_at)
            FROM identity.vneid_attempt v
            WHERE v.citizen_id = $1 AND ($2::text IS NULL OR v.expires_at::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "devices",
        sql: "SELECT d.id::text, jsonb_build_object('id', d.id, 'name', encode(d.name_sealed, 'hex'), 'name_unsealed', d.name, 'created_at', d.created_at,
                'last_seen_at', d.last_seen_at, 'has_public_key', d.public_key IS NOT NULL, 'key_bound_at', d.key_bound_at,
                'key_confirmed_at', d.key_confirmed_at)
            FROM identity.device d WHERE d.citizen_id = $1 AND ($2::text IS NULL OR d.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("name", device::NAME)],
    },
    Section {
        name: "sessions",
        sql: "SELECT s.id::text, jsonb_build_object('id', s.id, 'device_id', s.device_id, 'client', s.client, 'scope', s.scope,
                'acr', s.acr, 'amr', s.amr, 'authenticated_at', s.authenticated_at, 'rotated_at', s.rotated_at,
                'expires_at', s.expires_at, 'ended_at', s.ended_at, 'end_reason', s.end_reason)
            FROM identity.session s WHERE s.citizen_id = $1 AND ($2::text IS NULL OR s.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "passkeys",
        sql: "SELECT p.id::text, jsonb_build_object('id', p.id, 'name', encode(p.name_sealed, 'hex'), 'name_unsealed', p.name, 'created_at', p.created_at,
                'last_used_at', p.last_used_at, 'cooling_until', p.cooling_until)
            FROM identity.passkey p WHERE p.citizen_id = $1 AND ($2::text IS NULL OR p.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("name", passkey::NAME)],
    },
    Section {
        name: "passkey_challenges",
        sql: "SELECT p.id::text, jsonb_build_object('id', p.id, 'session_id', p.session_id, 'expires_at', p.expires_at)
            FROM identity.passkey_challenge p
            WHERE p.citizen_id = $1 AND ($2::text IS NULL OR p.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "pin",
        sql: "SELECT p.citizen_id::text, jsonb_build_object('set_at', p.set_at, 'failures', p.failures, 'retry_at', p.retry_at,
                'cooling_until', p.cooling_until)
            FROM identity.pin p WHERE p.citizen_id = $1 AND ($2::text IS NULL OR p.citizen_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "consents",
        sql: "SELECT c.client_id::text, jsonb_build_object('client_id', c.client_id, 'scopes', c.scopes, 'given_at', c.given_at,
                'changed_at', c.changed_at)
            FROM identity.consent c WHERE c.citizen_id = $1 AND ($2::text IS NULL OR c.client_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "authorisations",
        sql: "SELECT encode(a.code_digest, 'hex'), jsonb_build_object('client_id', a.client_id, 'device_id', a.device_id,
                'scope', a.scope, 'authenticated_at', a.authenticated_at, 'expires_at', a.expires_at, 'redeemed_at', a.redeemed_at)
            FROM identity.authorisation a
            WHERE a.citizen_id = $1 AND ($2::text IS NULL OR encode(a.code_digest, 'hex') > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "roles",
        sql: "SELECT r.id::text, jsonb_build_object('id', r.id, 'role', r.name, 'granted_at', r.granted_at, 'revoked_at', r.revoked_at)
            FROM identity.role_grant r WHERE r.user_id = $1 AND ($2::text IS NULL OR r.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "role_revocations",
        sql: "SELECT lpad(r.position::text, 20, '0'), jsonb_build_object('revoked_at', r.revoked_at, 'forget_at', r.forget_at)
            FROM identity.role_revocation r
            WHERE r.user_id = $1 AND ($2::text IS NULL OR lpad(r.position::text, 20, '0') > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "archives",
        sql: "SELECT a.id::text, jsonb_build_object('id', a.id, 'requested_at', a.requested_at, 'ready_at', a.ready_at,
                'expires_at', a.expires_at)
            FROM identity.archive a WHERE a.citizen_id = $1 AND ($2::text IS NULL OR a.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "delegations",
        sql: "SELECT d.id::text, jsonb_build_object('id', d.id, 'as_guardian', d.guardian_id IS NOT DISTINCT FROM $1, 'kinds', d.kinds,
                'transaction_maximum', d.transaction_maximum::text, 'day_maximum', d.day_maximum::text,
                'month_maximum', d.month_maximum::text, 'valid_until', d.valid_until, 'proposed_at', d.proposed_at,
                'confirmed_at', d.confirmed_at, 'ended_at', d.ended_at)
            FROM identity.delegation d
            WHERE (d.guardian_id = $1 OR d.dependent_id = $1) AND ($2::text IS NULL OR d.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "dependents",
        sql: "SELECT d.id::text, jsonb_build_object('id', d.id, 'as_guardian', d.guardian_id = $1,
                'ward', d.ward, 'kinds', d.kinds, 'transaction_maximum', d.transaction_maximum::text,
                'day_maximum', d.day_maximum::text, 'month_maximum', d.month_maximum::text, 'valid_until', d.valid_until,
                'registered_at', d.registered_at, 'confirmed_at', d.confirmed_at, 'ended_at', d.ended_at)
            FROM identity.dependent d
            WHERE (d.guardian_id = $1 OR d.citizen_id = $1) AND ($2::text IS NULL OR d.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "closings",
        sql: "SELECT c.id::text, jsonb_build_object('id', c.id, 'state', c.state, 'asked_at', c.asked_at, 'erase_at', c.erase_at,
                'ended_at', c.ended_at, 'answers', (SELECT jsonb_agg(jsonb_build_object('service', a.service,
                    'hindrances', a.hindrances) ORDER BY a.service) FROM identity.closing_answer a WHERE a.closing_id = c.id))
            FROM identity.closing c WHERE c.citizen_id = $1 AND ($2::text IS NULL OR c.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "audit",
        sql: "SELECT lpad(a.position::text, 20, '0'), jsonb_build_object('recorded_at', a.recorded_at, 'actor_kind', a.actor_kind,
                'action', a.action, 'object', a.object, 'channel', a.channel, 'session_id', a.session_id, 'device_id', a.device_id,
                'reason', a.reason)
            FROM identity.audit a
            WHERE a.subject = $1 AND ($2::text IS NULL OR lpad(a.position::text, 20, '0') > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
];

/// Runs [`JOB`].
pub(crate) struct OwnJob {
    pub identity: Arc<Identity>,
}

#[async_trait]
impl JobHandler for OwnJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse() else { return Outcome::Dead("the key is no archive".to_owned()) };
        match self.hand_over(id).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                warn!(%error, "identity's part of an archive waits");
                Outcome::RetryAt(self.identity.now() + PAUSE, error.to_string())
            }
        }
    }
}

impl OwnJob {
    async fn hand_over(&self, id: ArchiveId) -> Result<(), CopyError> {
        let identity = &self.identity;
        let mut connection = identity.pool.acquire().await?;
        let Some(user) = sql::lock_gathering(&mut connection, id, identity.now()).await? else { return Ok(()) };
        drop(connection);
        let taker = Box::new(Own(identity.clone()));
        let mut copy = PersonCopy::new(taker, SCHEMA.name(), id.uuid());
        for section in SECTIONS {
            copy.list(section.name);
            let mut after: Option<String> = None;
            loop {
                let page = self.page(user, section, after.as_deref()).await?;
                for (_, item) in &page {
                    copy.item(item).await?;
                }
                match page.into_iter().next_back() {
                    Some((last, _)) if !copy.is_over() => after = Some(last),
                    _ => break,
                }
            }
        }
        copy.finish().await
    }

    async fn page(
        &self,
        user: CitizenId,
        section: &Section,
        after: Option<&str>,
    ) -> Result<Vec<(String, serde_json::Value)>, CopyError> {
        let mut connection = self.identity.pool.acquire().await?;
        let row = citizen::find(&mut connection, user).await?;
        let key = row.map(|row| row.key(&self.identity.vault)).transpose().map_err(|error| other(&error))?;
        Ok(page_of(&mut connection, key.map(PersonKey::from).as_ref(), section, (user.uuid(), after)).await?)
    }
}

/// Identity takes its own pieces without a call.
struct Own(Arc<Identity>);

#[async_trait]
impl Taker for Own {
    async fn take(&self, piece: PutExportPartRequest) -> Result<bool, CopyError> {
        let ids = (piece.export_id.parse(), piece.attempt_id.parse());
        let (Ok(archive), Ok(attempt)) = ids else { return Err(CopyError::Other("an id is none".to_owned())) };
        let piece = Piece {
            archive,
            service: SCHEMA.name(),
            attempt,
            ordinal: piece.ordinal,
            text: &piece.text,
            last: piece.last,
        };
        self.0.take_piece(&piece).await.map_err(|error| other(&error))
    }
}

fn other(error: &Error) -> CopyError {
    CopyError::Other(error.to_string())
}
