//! What the wallet hands over of a citizen who asks for a copy of everything.
//!
//! Ids of others (who paid a merchant, who was paid) are left out; names of merchants, which everyone sees, are not.

use platform::person::Section;

use super::word::PAYMENT_NOTE;
use super::{BILL_PAYMENT_CODE, BILL_PAYMENT_REFERENCE, SUBSCRIPTION_CODE, SUBSCRIPTION_LABEL, TOP_UP_ACCOUNT};

/// In the order of the document.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "accounts",
        sql: "SELECT a.id::text, jsonb_build_object('id', a.id, 'balance', a.posted::text, 'held', a.held::text,
                'opened_at', a.opened_at, 'frozen', a.frozen <> 0, 'closed', a.closed)
            FROM ledger.account a WHERE a.owner = $1 AND ($2::text IS NULL OR a.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "transactions",
        sql: "SELECT lpad((9223372036854775807 - h.sequence)::text, 20, '0'), jsonb_build_object('id', h.id, 'kind', k.name,
                'incoming', h.credit = a.id, 'amount', h.amount::text,
                'balance', CASE WHEN h.credit = a.id THEN h.credit_balance ELSE h.debit_balance END::text,
                'posted_at', h.posted_at, 'merchant', coalesce(p.merchant_name, r.merchant_name),
                'note', CASE WHEN p.payer_user_id = $1 THEN encode(p.note_sealed, 'hex') END, 'note_unsealed', p.note)
            FROM ledger.account a
            CROSS JOIN LATERAL ledger.history(a.id, 9223372036854775807 - $2::bigint, 0, $3) AS h
            JOIN ledger.transfer_kind k ON k.shard = h.shard AND k.code = h.kind
            LEFT JOIN wallet.payment p ON p.id = h.id
            LEFT JOIN wallet.refund f ON f.id = h.id
            LEFT JOIN wallet.payment r ON r.id = f.payment_id
            WHERE a.owner = $1 ORDER BY 1 LIMIT $3",
        sealed: &[("note", PAYMENT_NOTE)],
    },
    Section {
        name: "top_ups",
        sql: "SELECT t.id::text, jsonb_build_object('id', t.id, 'bank_code', t.bank_code,
                'account', CASE WHEN t.actor_id IS NULL THEN encode(t.account_sealed, 'hex') END,
                'account_unsealed', CASE WHEN t.actor_id IS NULL THEN t.account END, 'by_guardian', t.actor_id IS NOT NULL, 'amount', t.amount::text,
                'state', t.state, 'reason', t.reason, 'bank_reference', t.bank_reference, 'requested_at', t.requested_at,
                'updated_at', t.updated_at)
            FROM wallet.top_up t WHERE t.user_id = $1 AND ($2::text IS NULL OR t.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("account", TOP_UP_ACCOUNT)],
    },
    Section {
        name: "bill_subscriptions",
        sql: "SELECT s.id::text, jsonb_build_object('id', s.id, 'biller_code', s.biller_code,
                'customer_code', encode(s.customer_code_sealed, 'hex'), 'customer_code_unsealed', s.customer_code,
                'label', encode(s.label_sealed, 'hex'), 'label_unsealed', s.label, 'created_at', s.created_at)
            FROM wallet.bill_subscription s WHERE s.user_id = $1 AND ($2::text IS NULL OR s.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("customer_code", SUBSCRIPTION_CODE), ("label", SUBSCRIPTION_LABEL)],
    },
    Section {
        name: "fee_notices",
        sql: "SELECT b.id::text, jsonb_build_object('id', b.id, 'biller_code', b.biller_code, 'reference', b.reference,
                'amount', b.amount::text, 'issued_on', b.issued_on, 'due_on', b.due_on, 'details', b.details, 'status', b.status)
            FROM wallet.bill b WHERE b.user_id = $1 AND ($2::text IS NULL OR b.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "bill_payments",
        sql: "SELECT b.id::text, jsonb_build_object('id', b.id, 'bill_id', b.bill_id, 'biller_code', b.biller_code,
                'customer_code', encode(b.customer_code_sealed, 'hex'), 'customer_code_unsealed', b.customer_code, 'kind', b.kind,
                'reference', encode(b.reference_sealed, 'hex'), 'reference_unsealed', b.reference, 'period', b.period,
                'amount', b.amount::text, 'state', b.state, 'reason', b.reason, 'requested_at', b.requested_at,
                'updated_at', b.updated_at)
            FROM wallet.bill_payment b WHERE b.user_id = $1 AND ($2::text IS NULL OR b.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("customer_code", BILL_PAYMENT_CODE), ("reference", BILL_PAYMENT_REFERENCE)],
    },
    Section {
        name: "proofs",
        sql: "SELECT p.id::text, jsonb_build_object('id', p.id, 'kind', p.kind, 'level', p.level, 'reference', p.reference,
                'used_at', p.used_at)
            FROM wallet.proof p WHERE p.user_id = $1 AND ($2::text IS NULL OR p.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "delegated_spending",
        sql: "SELECT d.reference::text, jsonb_build_object('reference', d.reference, 'delegation_id', d.delegation_id,
                'as_guardian', d.actor_id = $1, 'kind', d.kind, 'amount', d.amount::text, 'spent_on', d.spent_on,
                'booked_at', d.booked_at, 'released_at', d.released_at)
            FROM wallet.delegated_spending d
            WHERE (d.user_id = $1 OR d.actor_id = $1) AND ($2::text IS NULL OR d.reference::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "tier",
        sql: "SELECT c.user_id::text, jsonb_build_object('tier', c.tier, 'updated_at', c.updated_at) FROM wallet.citizen c
            WHERE c.user_id = $1 AND ($2::text IS NULL OR c.user_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "devices",
        sql: "SELECT d.device_id::text, jsonb_build_object('device_id', d.device_id, 'session_id', d.session_id,
                'bound_at', d.bound_at, 'updated_at', d.updated_at)
            FROM wallet.device d WHERE d.user_id = $1 AND ($2::text IS NULL OR d.device_id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "merchants",
        sql: "SELECT m.id::text, jsonb_build_object('id', m.id, 'name', m.name, 'city', m.city, 'category', m.category,
                'created_at', m.created_at, 'closed_at', m.closed_at, 'stores', (SELECT jsonb_agg(jsonb_build_object('id', s.id, 'name', s.name,
                    'address', s.address, 'created_at', s.created_at) ORDER BY s.id) FROM wallet.store s WHERE s.merchant_id = m.id),
                'tills', (SELECT jsonb_agg(jsonb_build_object('id', t.id, 'store_id', t.store_id, 'name', t.name,
                    'created_at', t.created_at) ORDER BY t.id) FROM wallet.till t WHERE t.merchant_id = m.id))
            FROM wallet.merchant m WHERE m.owner_user_id = $1 AND ($2::text IS NULL OR m.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
];
