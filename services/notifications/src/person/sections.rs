//! What notifications hand over of a citizen who asks for a copy of everything.

use platform::person::Section;

use super::{NAME, TOKEN};

/// In the order of the document.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "messages",
        sql: "SELECT m.id::text, jsonb_build_object('id', m.id, 'lane', m.lane, 'channel', m.channel, 'template', m.template,
                'parameters', m.parameters, 'state', m.state, 'reason', m.reason, 'created_at', m.created_at,
                'settled_at', m.settled_at, 'received_at', m.received_at, 'read_at', i.read_at,
                'receipt', (SELECT jsonb_build_object('status', r.status, 'reported_at', r.reported_at)
                    FROM notifications.sms_receipt r WHERE r.message_id = m.id),
                'digest_at', (SELECT d.due_at FROM notifications.digest_item d WHERE d.message_id = m.id),
                'attempts', (SELECT jsonb_agg(jsonb_build_object('outcome', a.outcome, 'device_id', a.device_id,
                    'attempted_at', a.attempted_at) ORDER BY a.attempted_at)
                    FROM notifications.attempt a WHERE a.message_id = m.id))
            FROM notifications.message m LEFT JOIN notifications.inbox i ON i.message_id = m.id
            WHERE m.recipient = $1 AND ($2::text IS NULL OR m.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "devices",
        sql: "SELECT d.id::text, jsonb_build_object('id', d.id, 'platform', d.platform, 'token', encode(d.token_sealed, 'hex'),
                'name', encode(d.name_sealed, 'hex'), 'token_unsealed', d.token, 'name_unsealed', d.name,
                'session_id', d.session_id, 'created_at', d.created_at)
            FROM notifications.device d WHERE d.user_id = $1 AND ($2::text IS NULL OR d.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("token", TOKEN), ("name", NAME)],
    },
    Section {
        name: "preferences",
        sql: "SELECT p.user_id::text, jsonb_build_object('language', p.language, 'quiet_from', p.quiet_from, 'quiet_to', p.quiet_to,
                'digest_at', p.digest_at, 'updated_at', p.updated_at)
            FROM notifications.preference p WHERE p.user_id = $1 AND ($2::text IS NULL OR p.user_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "muted",
        sql: "SELECT m.lane || ' ' || m.channel, jsonb_build_object('lane', m.lane, 'channel', m.channel) FROM notifications.muted m
            WHERE m.user_id = $1 AND ($2::text IS NULL OR m.lane || ' ' || m.channel > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "dependents",
        sql: "SELECT d.user_id::text, jsonb_build_object('as_guardian', d.guardian_id = $1) FROM notifications.dependent d
            WHERE (d.user_id = $1 OR d.guardian_id = $1) AND ($2::text IS NULL OR d.user_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "wards",
        sql: "SELECT w.ward_code, jsonb_build_object('ward_code', w.ward_code, 'chosen_at', w.chosen_at)
            FROM notifications.ward_choice w WHERE w.user_id = $1 AND ($2::text IS NULL OR w.ward_code > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "warnings",
        sql: "SELECT r.alert_id || ' ' || r.ward_code, jsonb_build_object('alert_id', r.alert_id, 'ward_code', r.ward_code)
            FROM notifications.alert_recipient r
            WHERE r.user_id = $1 AND ($2::text IS NULL OR r.alert_id || ' ' || r.ward_code > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
];
