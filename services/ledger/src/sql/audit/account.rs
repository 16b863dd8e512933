//! What verification reads of accounts: their state beside what history says of it, and what one of them spent.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::sql::write::ROOM;

/// An account's state beside what history says of it, in one snapshot.
pub(crate) struct StateRow {
    pub(crate) id: Uuid,
    pub(crate) posted: i64,
    pub(crate) held: i64,
    pub(crate) promised: i64,
    pub(crate) sequence: i64,
    pub(crate) transfers: i64,
    pub(crate) frozen: i16,
    pub(crate) closed: bool,
    pub(crate) floor: Option<i64>,
    /// What open holds set aside from it, as text because it may pass 64 bits in forged books.
    pub(crate) holds_held: String,
    /// What open holds promise to it.
    pub(crate) holds_promised: String,
    /// The last freeze in its history.
    pub(crate) last_frozen: i16,
    /// Whether its history closed it.
    pub(crate) last_closed: bool,
    /// What transfers after the verified sequence added.
    pub(crate) later: String,
    /// How many these transfers are.
    pub(crate) later_transfers: i64,
    /// The last of these transfers; 0 when there is none.
    pub(crate) later_sequence: i64,
    /// How many marks there are up to the verified sequence.
    pub(crate) marks: i64,
    /// SHA-256 of their sequences in order, 8 bytes each.
    pub(crate) mark_hash: Vec<u8>,
    /// What it spent in its day and month.
    pub(crate) usage: Vec<u8>,
    /// Whether the room beside it is what accounts are opened with, or given up.
    pub(crate) room_is_plain: bool,
}

/// Accounts of a shard after an id, each with what history after `verified` and the open holds say.
pub(crate) async fn states(
    connection: &mut PgConnection,
    shard: i16,
    after: Uuid,
    verified: i64,
    limit: i64,
) -> Result<Vec<StateRow>, sqlx::Error> {
    sqlx::query_as!(
        StateRow,
        r#"SELECT a.id AS "id!", a.posted AS "posted!", a.held AS "held!", a.promised AS "promised!", a.sequence AS "sequence!", a.transfers AS "transfers!",
                  a.frozen AS "frozen!", a.closed AS "closed!", a.floor AS "floor?",
                  COALESCE((SELECT SUM(h.amount) FROM ledger.hold AS h WHERE h.debit = a.id AND h.ended_block IS NULL), 0)::text AS "holds_held!",
                  COALESCE((SELECT SUM(h.amount) FROM ledger.hold AS h WHERE h.credit = a.id AND h.ended_block IS NULL), 0)::text AS "holds_promised!",
                  COALESCE(c.frozen, 0::smallint) AS "last_frozen!", COALESCE(c.closed, FALSE) AS "last_closed!",
                  COALESCE(l.amount, 0)::text AS "later!", COALESCE(l.transfers, 0) AS "later_transfers!",
                  COALESCE(l.sequence, 0) AS "later_sequence!", COALESCE(m.marks, 0) AS "marks!", COALESCE(m.hash, SHA256('')) AS "mark_hash!",
                  a.usage AS "usage!", a.room IS NULL OR a.room = $5 AS "room_is_plain!"
           FROM (
               SELECT id, posted, held, promised, sequence, transfers, frozen, closed, floor, usage, room
               FROM ledger.account
               WHERE shard = $1 AND id > $2
               ORDER BY id
               LIMIT $4
           ) AS a
           LEFT JOIN LATERAL (
               SELECT frozen, closed FROM ledger.account_change WHERE account = a.id ORDER BY block DESC, ordinal DESC LIMIT 1
           ) AS c ON TRUE
           LEFT JOIN LATERAL (
               WITH RECURSIVE walk AS (
                   SELECT t.sequence, t.amount, t.debit, t.debit_previous, t.credit_previous
                   FROM ledger.transfer AS t
                   WHERE t.shard = $1 AND t.sequence = a.sequence AND t.sequence > $3
                   UNION ALL
                   SELECT t.sequence, t.amount, t.debit, t.debit_previous, t.credit_previous
                   FROM walk AS w
                   JOIN ledger.transfer AS t ON t.shard = $1 AND t.sequence = CASE WHEN w.debit = a.id THEN w.debit_previous ELSE w.credit_previous END
                   WHERE t.sequence > $3 AND t.sequence < w.sequence
               )
               SELECT SUM(CASE WHEN debit = a.id THEN -amount ELSE amount END) AS amount, COUNT(*) AS transfers, MAX(sequence) AS sequence FROM walk
           ) AS l ON a.sequence > $3
           LEFT JOIN LATERAL (
               SELECT COUNT(*) AS marks, SHA256(STRING_AGG(INT8SEND(sequence), ''::bytea ORDER BY sequence)) AS hash FROM ledger.account_mark WHERE account = a.id AND sequence <= $3
           ) AS m ON TRUE
           ORDER BY a.id"#,
        shard,
        after,
        verified,
        limit,
        &ROOM[..],
    )
    .fetch_all(connection)
    .await
}

/// What history says that an account spent of one class since the beginning of the month that its usage is of, beside that usage.
pub(crate) struct Recount {
    pub(crate) usage: Vec<u8>,
    /// `None` when it spent nothing.
    pub(crate) class: Option<i16>,
    /// What was spent and kept on the usage's day; as text because it may pass 64 bits in forged books.
    pub(crate) day: String,
    /// The same of the month.
    pub(crate) month: String,
    /// Whether anything was spent on the usage's day, kept or not.
    pub(crate) on_last_day: bool,
    /// Whether anything was spent after it.
    pub(crate) later: bool,
}

/// Counts again what an account spent, by class, in one snapshot.
///
/// A hold counts when it was opened, with what is left of it; the transfer that it became does not count again. A refund counts against its payment.
pub(crate) async fn recount(
    connection: &mut PgConnection,
    account: Uuid,
    zone: &str,
) -> Result<Vec<Recount>, sqlx::Error> {
    sqlx::query_as!(
        Recount,
        r#"WITH RECURSIVE stored AS (
               SELECT a.id, a.shard, a.sequence, a.usage, d.day::timestamp AT TIME ZONE $2 AS day_begins,
                      (d.day + 1)::timestamp AT TIME ZONE $2 AS day_ends, DATE_TRUNC('month', d.day::timestamp) AT TIME ZONE $2 AS month_begins
               FROM ledger.account AS a
               CROSS JOIN LATERAL (SELECT DATE '0001-01-01' + (('x' || ENCODE(SUBSTRING(a.usage FROM 1 FOR 8), 'hex'))::bit(64)::bigint - 1)::integer AS day) AS d
               WHERE a.id = $1
           ), walk AS (
               SELECT t.shard, t.sequence, t.id, t.debit, t.amount, t.kind, t.posted_at, t.debit_previous, t.credit_previous
               FROM stored AS s
               JOIN ledger.transfer AS t ON t.shard = s.shard AND t.sequence = s.sequence
               WHERE t.posted_at >= s.month_begins
               UNION ALL
               SELECT t.shard, t.sequence, t.id, t.debit, t.amount, t.kind, t.posted_at, t.debit_previous, t.credit_previous
               FROM walk AS w
               JOIN ledger.transfer AS t ON t.shard = w.shard AND t.sequence = CASE WHEN w.debit = $1 THEN w.debit_previous ELSE w.credit_previous END
               CROSS JOIN stored AS s
               WHERE t.sequence < w.sequence AND t.posted_at >= s.month_begins
           ), spending AS (
               SELECT k.class, w.posted_at AS spent_at, w.amount AS kept, TRUE AS spends
               FROM walk AS w
               JOIN ledger.transfer_kind AS k ON k.shard = w.shard AND k.code = w.kind AND k.class IS NOT NULL
               WHERE w.debit = $1 AND NOT EXISTS (SELECT 1 FROM ledger.hold AS h WHERE h.transfer = w.id)
               UNION ALL
               SELECT h.class, h.opened_at, CASE WHEN h.ended_block IS NULL THEN h.amount ELSE COALESCE(h.posted_amount, 0) END, TRUE
               FROM stored AS s
               JOIN ledger.hold AS h ON h.debit = s.id AND h.opened_at >= s.month_begins
               WHERE h.class IS NOT NULL
               UNION ALL
               SELECT r.class, COALESCE(h.opened_at, p.posted_at), -r.amount, FALSE
               FROM stored AS s
               CROSS JOIN walk AS w
               JOIN ledger.refund AS r ON r.shard = w.shard AND r.sequence = w.sequence AND r.class IS NOT NULL
               JOIN ledger.transfer AS p ON p.id = r.payment AND p.debit = $1
               LEFT JOIN ledger.hold AS h ON h.transfer = p.id
               WHERE COALESCE(h.opened_at, p.posted_at) >= s.month_begins
           )
           SELECT s.usage AS "usage!", p.class AS "class?", COALESCE(SUM(p.kept) FILTER (WHERE p.spent_at >= s.day_begins), 0)::text AS "day!",
                  COALESCE(SUM(p.kept), 0)::text AS "month!",
                  COALESCE(BOOL_OR(p.spends AND p.spent_at >= s.day_begins AND p.spent_at < s.day_ends), FALSE) AS "on_last_day!",
                  COALESCE(BOOL_OR(p.spends AND p.spent_at >= s.day_ends), FALSE) AS "later!"
           FROM stored AS s
           LEFT JOIN spending AS p ON TRUE
           GROUP BY s.usage, p.class
           ORDER BY p.class"#,
        account,
        zone,
    )
    .fetch_all(connection)
    .await
}

/// How many accounts a shard has.
pub(crate) async fn accounts(connection: &mut PgConnection, shard: i16) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT COUNT(*) AS "accounts!" FROM ledger.account WHERE shard = $1"#, shard)
        .fetch_one(connection)
        .await
}
