//! Everything that identity holds on a citizen, as one JSON document for themself.
//!
//! What is sealed is opened; what proves something (hashes, digests, keys) is left out, for it says nothing of a person and would help a thief.
//! Lists are the newest of their kind, [`MAX_ITEMS`] at most; the document says so where there was more.

use platform::auth::Principal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::{Citizen, CitizenId};
use crate::config::Lifetimes;
use crate::error::Error;
use crate::name::StoredName;
use crate::vault::{Place, Sealer};
use crate::{Identity, device, passkey};

/// The most items of one list.
const MAX_ITEMS: i64 = 2_000;

impl Identity {
    /// The caller's document; soon after a sign-in only, for it says everything. That it was made stands in the audit.
    pub(crate) async fn export(&self, caller: &Principal, origin: Origin) -> Result<Value, Error> {
        let now = self.now();
        if caller.authenticated_at + Lifetimes::span(self.config.lifetimes.fresh_seconds) <= now {
            return Err(Error::NotFresh);
        }
        let id = CitizenId::from(caller.subject);
        let citizen = self.citizen(id).await?;
        let number = self.proved_number(id).await?.map(|(number, proved)| {
            json!({
                "citizen_number": number, "full_name": proved.full_name, "source": proved.source, "proved_at": proved.proved_at,
            })
        });
        let entry = Entry::of(id, Action::DataExport, "", &self.source(origin));
        let mut tx = platform::db::begin(&self.pool).await?;
        audit::append(&mut tx, &[entry], now).await?;
        let lists = self.lists(&mut tx, &citizen).await?;
        tx.commit().await?;
        Ok(json!({
            "exported_at": now,
            "most_items_of_a_list": MAX_ITEMS,
            "profile": {
                "id": citizen.id, "phone": citizen.phone.as_ref().map(crate::phone::Phone::e164), "display_name": citizen.display_name,
                "language": citizen.language.tag(), "tier": citizen.tier.number(), "created_at": citizen.created_at,
            },
            "citizen_number": number,
            "lists": lists,
        }))
    }

    /// What stands about a citizen in tables of its own, open.
    async fn lists(&self, tx: &mut sqlx::PgConnection, citizen: &Citizen) -> Result<Value, Error> {
        let row = sqlx::query!(
            r#"SELECT
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', d.id, 'name', d.name,
                'name_sealed', encode(d.name_sealed, 'hex'), 'created_at', d.created_at,
                'last_seen_at', d.last_seen_at, 'has_public_key', d.public_key IS NOT NULL) ORDER BY d.last_seen_at DESC), '[]')
                FROM identity.device d WHERE d.citizen_id = $1) AS "devices!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', s.id, 'device_id', s.device_id, 'client', s.client, 'scope', s.scope,
                'authenticated_at', s.authenticated_at, 'ended_at', s.ended_at, 'end_reason', s.end_reason)), '[]')
                FROM (SELECT id, device_id, client, scope, authenticated_at, ended_at, end_reason FROM identity.session
                    WHERE citizen_id = $1 ORDER BY authenticated_at DESC LIMIT $2) s) AS "sessions!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', p.id, 'name', p.name,
                'name_sealed', encode(p.name_sealed, 'hex'), 'created_at', p.created_at,
                'last_used_at', p.last_used_at)), '[]')
                FROM identity.passkey p WHERE p.citizen_id = $1) AS "passkeys!",
            (SELECT jsonb_build_object('set_at', p.set_at, 'cooling_until', p.cooling_until)
                FROM identity.pin p WHERE p.citizen_id = $1) AS pin,
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', e.id, 'state', e.state, 'reason', e.reason, 'asked_at', e.asked_at,
                'decided_at', e.decided_at)), '[]')
                FROM (SELECT id, state, reason, asked_at, decided_at FROM identity.ekyc
                    WHERE citizen_id = $1 ORDER BY asked_at DESC LIMIT $2) e) AS "ekyc!",
            (SELECT v.linked_at FROM identity.vneid_link v WHERE v.citizen_id = $1) AS vneid_linked_at,
            (SELECT coalesce(jsonb_agg(jsonb_build_object('client_id', c.client_id, 'scopes', c.scopes, 'given_at', c.given_at,
                'changed_at', c.changed_at)), '[]')
                FROM identity.consent c WHERE c.citizen_id = $1) AS "consents!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('role', r.name, 'granted_at', r.granted_at, 'revoked_at', r.revoked_at)), '[]')
                FROM (SELECT name, granted_at, revoked_at FROM identity.role_grant
                    WHERE user_id = $1 ORDER BY id DESC LIMIT $2) r) AS "roles!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', d.id, 'as_guardian', d.as_guardian, 'kinds', d.kinds,
                'transaction_maximum', d.transaction_maximum::text, 'day_maximum', d.day_maximum::text,
                'month_maximum', d.month_maximum::text, 'valid_until', d.valid_until, 'proposed_at', d.proposed_at,
                'confirmed_at', d.confirmed_at, 'ended_at', d.ended_at)), '[]')
                FROM (SELECT id, guardian_id IS NOT DISTINCT FROM $1 AS as_guardian, kinds, transaction_maximum, day_maximum,
                        month_maximum, valid_until, proposed_at, confirmed_at, ended_at
                    FROM identity.delegation WHERE guardian_id = $1 OR dependent_id = $1 ORDER BY id DESC LIMIT $2) d) AS "delegations!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', d.id, 'as_guardian', d.as_guardian, 'ward', d.ward, 'kinds', d.kinds,
                'transaction_maximum', d.transaction_maximum::text, 'day_maximum', d.day_maximum::text,
                'month_maximum', d.month_maximum::text, 'valid_until', d.valid_until, 'registered_at', d.registered_at,
                'confirmed_at', d.confirmed_at, 'ended_at', d.ended_at)), '[]')
                FROM (SELECT id, guardian_id = $1 AS as_guardian, ward, kinds, transaction_maximum, day_maximum, month_maximum,
                        valid_until, registered_at, confirmed_at, ended_at
                    FROM identity.dependent WHERE guardian_id = $1 OR citizen_id = $1 ORDER BY id DESC LIMIT $2) d) AS "dependents!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'state', c.state, 'asked_at', c.asked_at,
                'erase_at', c.erase_at, 'ended_at', c.ended_at)), '[]')
                FROM (SELECT id, state, asked_at, erase_at, ended_at FROM identity.closing
                    WHERE citizen_id = $1 ORDER BY id DESC LIMIT $2) c) AS "closings!",
            (SELECT coalesce(jsonb_agg(jsonb_build_object('recorded_at', a.recorded_at, 'actor_kind', a.actor_kind, 'action', a.action,
                'object', a.object, 'channel', a.channel, 'session_id', a.session_id, 'device_id', a.device_id, 'reason', a.reason)), '[]')
                FROM (SELECT recorded_at, actor_kind, action, object, channel, session_id, device_id, reason FROM identity.audit
                    WHERE subject = $1 ORDER BY position DESC LIMIT $2) a) AS "audit!""#,
            citizen.id.uuid(),
            MAX_ITEMS,
        )
        .fetch_one(tx)
        .await?;
        Ok(json!({
            "devices": with_names(row.devices, &citizen.key, device::NAME)?, "sessions": row.sessions,
            "passkeys": with_names(row.passkeys, &citizen.key, passkey::NAME)?, "pin": row.pin, "ekyc_requests": row.ekyc,
            "vneid_linked_at": row.vneid_linked_at, "consents": row.consents, "roles": row.roles,
            "delegations": row.delegations, "dependents": row.dependents, "closings": row.closings, "audit": row.audit,
        }))
    }
}

/// Opens the names of a list whose rows hold them sealed, in hexadecimal, or plain from before.
fn with_names(mut list: Value, key: &Sealer, column: &'static str) -> Result<Value, Error> {
    for item in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        let sealed = item.remove("name_sealed").and_then(|text| hex::decode(text.as_str()?).ok());
        let plain = item["name"].as_str().map(str::to_owned);
        let row: Option<Uuid> = item["id"].as_str().and_then(|id| id.parse().ok());
        let place = Place::new(column, row.expect("a list's rows have ids"));
        item.insert("name".to_owned(), StoredName { plain, sealed }.open(key, place)?.into());
    }
    Ok(list)
}
