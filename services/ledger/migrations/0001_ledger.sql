-- The double-entry ledger.
--
-- History (block, transfer, account_mark, request, refund, account_change) is only ever added to: the runtime role has no right to change it, and triggers refuse UPDATE, DELETE and TRUNCATE to everyone.
-- State (shard, account, hold) is kept beside it under the lock of the shard's row, and can be recomputed from history at any time.
--
-- No foreign keys on transfer: each would cost a look-up per row. The engine reads every account under the shard's lock before it writes, and `verify` checks the same again.
-- Amounts are minor units. Currencies are numeric codes of ISO 4217. Hashes are SHA-256.

SET LOCAL lock_timeout = '5s';

CREATE TABLE ledger.shard (
    shard     smallint    NOT NULL,
    sequence  bigint      NOT NULL DEFAULT 0,
    block     bigint      NOT NULL DEFAULT 0,
    posted_at timestamptz NOT NULL,
    hash      bytea       NOT NULL DEFAULT '\x0000000000000000000000000000000000000000000000000000000000000000',
    CONSTRAINT shard_pkey PRIMARY KEY (shard),
    CONSTRAINT shard_sequence_from_zero CHECK (sequence >= 0 AND block >= 0),
    CONSTRAINT shard_hash_length CHECK (length(hash) = 32)
) WITH (fillfactor = 10);
COMMENT ON TABLE ledger.shard IS 'The head of each shard''s journal: last sequence, last block and its hash. Its row is the lock under which everything is written.';
INSERT INTO ledger.shard (shard, posted_at) VALUES (1, '1970-01-01T00:00:00Z');

CREATE TABLE ledger.block (
    number         bigint      NOT NULL,
    first_sequence bigint      NOT NULL,
    posted_at      timestamptz NOT NULL,
    transfers      integer     NOT NULL,
    records        integer     NOT NULL,
    shard          smallint    NOT NULL,
    transfer_root  bytea       NOT NULL,
    record_root    bytea       NOT NULL,
    balance_hash   bytea       NOT NULL,
    previous_hash  bytea       NOT NULL,
    hash           bytea       NOT NULL,
    salt           uuid        NOT NULL,
    CONSTRAINT block_pkey PRIMARY KEY (shard, number),
    CONSTRAINT block_counts CHECK (number > 0 AND first_sequence > 0 AND transfers >= 0 AND records >= 0),
    CONSTRAINT block_hash_length CHECK (length(transfer_root) = 32 AND length(record_root) = 32 AND length(balance_hash) = 32 AND length(previous_hash) = 32 AND length(hash) = 32)
);
COMMENT ON TABLE ledger.block IS 'One committed batch: the RFC 6962 root over its transfers, the root over its other records, the salted hash of what they left on accounts, chained to the block before. History.';

CREATE INDEX block_time ON ledger.block (shard, posted_at, number);

CREATE TABLE ledger.account_kind (
    code  smallint NOT NULL,
    shard smallint NOT NULL,
    block bigint   NOT NULL,
    name  text     NOT NULL,
    CONSTRAINT account_kind_pkey PRIMARY KEY (shard, code),
    CONSTRAINT account_kind_name_key UNIQUE (shard, name),
    CONSTRAINT account_kind_name_plain CHECK (name ~ '^[a-z0-9_]{1,40}$')
);
COMMENT ON TABLE ledger.account_kind IS 'Names of the kinds of accounts, written on a kind''s first use. History.';

CREATE TABLE ledger.transfer_kind (
    code  smallint NOT NULL,
    shard smallint NOT NULL,
    block bigint   NOT NULL,
    class smallint,
    name  text     NOT NULL,
    CONSTRAINT transfer_kind_class_known CHECK (class BETWEEN 1 AND 8),
    CONSTRAINT transfer_kind_pkey PRIMARY KEY (shard, code),
    CONSTRAINT transfer_kind_name_key UNIQUE (shard, name),
    CONSTRAINT transfer_kind_name_plain CHECK (name ~ '^[a-z0-9_]{1,40}$')
);
COMMENT ON TABLE ledger.transfer_kind IS 'Names of the kinds of transfers, written on a kind''s first use, and the class of spending that each counts for, if any. History.';

CREATE TABLE ledger.account (
    posted       bigint      NOT NULL,
    held         bigint      NOT NULL,
    promised     bigint      NOT NULL,
    sequence     bigint      NOT NULL,
    transfers    bigint      NOT NULL,
    opened_block bigint      NOT NULL,
    opened_at    timestamptz NOT NULL,
    frozen       smallint    NOT NULL,
    shard        smallint    NOT NULL,
    kind         smallint    NOT NULL,
    currency     smallint    NOT NULL,
    id           uuid        NOT NULL,
    owner        uuid        NOT NULL,
    closed       boolean     NOT NULL,
    floor        bigint,
    usage        bigint[]    NOT NULL DEFAULT '{}',
    CONSTRAINT account_pkey PRIMARY KEY (id),
    CONSTRAINT account_floor CHECK (floor IS NULL OR posted - held >= floor),
    CONSTRAINT account_reserves CHECK (held >= 0 AND promised >= 0),
    CONSTRAINT account_frozen_known CHECK (frozen BETWEEN 0 AND 3),
    CONSTRAINT account_closed_empty CHECK (NOT closed OR (posted = 0 AND held = 0 AND promised = 0))
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger.account IS 'Accounts with their balances: posted = credits - debits; held and promised are what open holds set aside from and for it; usage is what it spent: the last day on which it spent anything, then for each class its code, the day''s and the month''s total. No index on what changes, so that updates stay in their page.';
CREATE INDEX account_owner ON ledger.account (owner);
CREATE INDEX account_opened ON ledger.account (shard, opened_block, id);

CREATE TABLE ledger.transfer (
    sequence        bigint      NOT NULL,
    block           bigint      NOT NULL,
    posted_at       timestamptz NOT NULL,
    amount          bigint      NOT NULL,
    debit_balance   bigint      NOT NULL,
    credit_balance  bigint      NOT NULL,
    debit_previous  bigint      NOT NULL,
    credit_previous bigint      NOT NULL,
    fingerprint     bigint      NOT NULL,
    shard           smallint    NOT NULL,
    currency        smallint    NOT NULL,
    kind            smallint    NOT NULL,
    request_size    smallint    NOT NULL,
    id              uuid        NOT NULL,
    debit           uuid        NOT NULL,
    credit          uuid        NOT NULL,
    reference       uuid        NOT NULL,
    CONSTRAINT transfer_pkey PRIMARY KEY (shard, sequence) WITH (fillfactor = 100),
    CONSTRAINT transfer_id_key UNIQUE (id),
    CONSTRAINT transfer_amount_positive CHECK (amount > 0),
    CONSTRAINT transfer_two_accounts CHECK (debit <> credit),
    CONSTRAINT transfer_previous CHECK (debit_previous >= 0 AND credit_previous >= 0 AND GREATEST(debit_previous, credit_previous) < sequence)
);
COMMENT ON TABLE ledger.transfer IS 'The journal: one row moves one amount from the debited account to the credited one and carries both balances after it. Each row names the account''s row before it on either side, so that an account''s history is a chain and needs no index (see account_mark). The id of the first transfer of a request is the request''s key; it carries the fingerprint and how many transfers the request made (request_size); further ones carry 0. History.';

CREATE TABLE ledger.account_mark (
    sequence bigint NOT NULL,
    account  uuid   NOT NULL,
    CONSTRAINT account_mark_pkey PRIMARY KEY (account, sequence)
);
COMMENT ON TABLE ledger.account_mark IS 'Every 256th transfer of each account, so that a walk along its chain can begin near any place. Follows from the journal. History.';

CREATE TABLE ledger.request (
    block       bigint   NOT NULL,
    shard       smallint NOT NULL,
    request_key uuid     NOT NULL,
    fingerprint bigint   NOT NULL,
    reject      text,
    subject     uuid,
    CONSTRAINT request_pkey PRIMARY KEY (request_key),
    CONSTRAINT request_reject_subject CHECK ((reject IS NULL) = (subject IS NULL))
);
COMMENT ON TABLE ledger.request IS 'Requests that made no transfer, so that an equal one gets the same answer: rejects with code and subject, and requests that only opened, held, gave back or changed something. History.';
CREATE INDEX request_block ON ledger.request (shard, block);

CREATE TABLE ledger.hold (
    amount           bigint      NOT NULL,
    opened_block     bigint      NOT NULL,
    opened_at        timestamptz NOT NULL,
    shard            smallint    NOT NULL,
    currency         smallint    NOT NULL,
    kind             smallint    NOT NULL,
    class            smallint,
    id               uuid        NOT NULL,
    debit            uuid        NOT NULL,
    credit           uuid        NOT NULL,
    reference        uuid        NOT NULL,
    expires_at       timestamptz,
    confirming_block bigint,
    confirming_at    timestamptz,
    ended_block      bigint,
    ended_at         timestamptz,
    ending           text,
    posted_amount    bigint,
    transfer         uuid,
    CONSTRAINT hold_pkey PRIMARY KEY (id),
    CONSTRAINT hold_amount_positive CHECK (amount > 0),
    CONSTRAINT hold_class_known CHECK (class BETWEEN 1 AND 8),
    CONSTRAINT hold_two_accounts CHECK (debit <> credit),
    CONSTRAINT hold_confirming CHECK ((confirming_block IS NULL) = (confirming_at IS NULL)),
    CONSTRAINT hold_ended CHECK ((ended_block IS NULL) = (ended_at IS NULL) AND (ended_block IS NULL) = (ending IS NULL)),
    CONSTRAINT hold_ending_known CHECK (ending IN ('posted', 'voided', 'expired')),
    CONSTRAINT hold_posted CHECK ((ending IS NOT DISTINCT FROM 'posted') = (transfer IS NOT NULL) AND (transfer IS NULL) = (posted_amount IS NULL)),
    CONSTRAINT hold_posted_within CHECK (posted_amount BETWEEN 1 AND amount)
);
COMMENT ON TABLE ledger.hold IS 'Holds: an amount set aside, then posted whole or in part, voided or expired. Each step carries the block that seals it; a step once taken never changes.';
CREATE INDEX hold_opened ON ledger.hold (shard, opened_block);
CREATE INDEX hold_confirming ON ledger.hold (shard, confirming_block) WHERE confirming_block IS NOT NULL;
CREATE INDEX hold_ended ON ledger.hold (shard, ended_block) WHERE ended_block IS NOT NULL;
CREATE INDEX hold_spending ON ledger.hold (debit, opened_at) WHERE class IS NOT NULL;
CREATE UNIQUE INDEX hold_transfer ON ledger.hold (transfer) WHERE transfer IS NOT NULL;
CREATE INDEX hold_open_debit ON ledger.hold (debit) WHERE ended_block IS NULL;
CREATE INDEX hold_open_credit ON ledger.hold (credit) WHERE ended_block IS NULL;
CREATE INDEX hold_due ON ledger.hold (shard, expires_at) WHERE ended_block IS NULL AND confirming_block IS NULL AND expires_at IS NOT NULL;

CREATE TABLE ledger.refund (
    sequence bigint   NOT NULL,
    block    bigint   NOT NULL,
    amount   bigint   NOT NULL,
    shard    smallint NOT NULL,
    class    smallint,
    payment  uuid     NOT NULL,
    CONSTRAINT refund_pkey PRIMARY KEY (shard, sequence),
    CONSTRAINT refund_amount_positive CHECK (amount > 0),
    CONSTRAINT refund_class_known CHECK (class BETWEEN 1 AND 8)
);
COMMENT ON TABLE ledger.refund IS 'Transfers that give money back: each by its sequence, the id of the transfer whose money it is, and the class of spending in which it gives back used limits, if it does. History.';
CREATE INDEX refund_payment ON ledger.refund (payment);
CREATE INDEX refund_block ON ledger.refund (shard, block);

CREATE TABLE ledger.account_change (
    block   bigint   NOT NULL,
    shard   smallint NOT NULL,
    ordinal integer  NOT NULL,
    frozen  smallint NOT NULL,
    account uuid     NOT NULL,
    closed  boolean  NOT NULL,
    CONSTRAINT account_change_pkey PRIMARY KEY (shard, block, ordinal),
    CONSTRAINT account_change_frozen_known CHECK (frozen BETWEEN 0 AND 3)
);
COMMENT ON TABLE ledger.account_change IS 'Freezes, unfreezes and closings of accounts: what held after each. History.';
CREATE INDEX account_change_account ON ledger.account_change (account, block, ordinal);

-- History refuses change, whoever asks.
CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history in %.% is never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'ledger_history_immutable';
END $$;
COMMENT ON FUNCTION ledger.refuse_change() IS 'Refuses every change of a table that is history.';

CREATE TRIGGER block_immutable BEFORE UPDATE OR DELETE ON ledger.block FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER block_kept BEFORE TRUNCATE ON ledger.block FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER transfer_immutable BEFORE UPDATE OR DELETE ON ledger.transfer FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER transfer_kept BEFORE TRUNCATE ON ledger.transfer FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_mark_immutable BEFORE UPDATE OR DELETE ON ledger.account_mark FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_mark_kept BEFORE TRUNCATE ON ledger.account_mark FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER request_immutable BEFORE UPDATE OR DELETE ON ledger.request FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER request_kept BEFORE TRUNCATE ON ledger.request FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER refund_immutable BEFORE UPDATE OR DELETE ON ledger.refund FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER refund_kept BEFORE TRUNCATE ON ledger.refund FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_change_immutable BEFORE UPDATE OR DELETE ON ledger.account_change FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_change_kept BEFORE TRUNCATE ON ledger.account_change FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_kind_immutable BEFORE UPDATE OR DELETE ON ledger.account_kind FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_kind_kept BEFORE TRUNCATE ON ledger.account_kind FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER transfer_kind_immutable BEFORE UPDATE OR DELETE ON ledger.transfer_kind FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER transfer_kind_kept BEFORE TRUNCATE ON ledger.transfer_kind FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Behind the fold: refunds never add up to more than was paid. Only a batch with refunds asks, once for all of them, under the shard's lock.
CREATE FUNCTION ledger.bound_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1
        FROM (SELECT DISTINCT payment FROM added) AS a
        WHERE (SELECT SUM(r.amount) FROM ledger.refund AS r WHERE r.payment = a.payment)
              > COALESCE((SELECT t.amount FROM ledger.transfer AS t WHERE t.id = a.payment), 0)
    ) THEN
        RAISE EXCEPTION 'refunds add up to more than was paid' USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_within_payment';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION ledger.bound_refunds() IS 'Refuses refunds that add up to more than their payment.';
CREATE TRIGGER refund_within_payment AFTER INSERT ON ledger.refund REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION ledger.bound_refunds();

-- Accounts and holds stay, and a hold that has ended stays as it ended.
CREATE TRIGGER account_never_deleted BEFORE DELETE ON ledger.account FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_kept BEFORE TRUNCATE ON ledger.account FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER hold_never_deleted BEFORE DELETE ON ledger.hold FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER hold_kept BEFORE TRUNCATE ON ledger.hold FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER hold_ended_immutable BEFORE UPDATE ON ledger.hold FOR EACH ROW WHEN (OLD.ended_block IS NOT NULL) EXECUTE FUNCTION ledger.refuse_change();

-- An account's transfers before p_before (NULL: from the last one) and after p_after, newest first: a walk back along its chain from the nearest mark.
CREATE FUNCTION ledger.history(p_account uuid, p_before bigint, p_after bigint, p_limit bigint) RETURNS SETOF ledger.transfer
LANGUAGE plpgsql STABLE ROWS 50 AS $$
DECLARE
    v_shard smallint;
    v_next  bigint;
    v_left  bigint := p_limit;
    v_row   ledger.transfer;
BEGIN
    SELECT shard, sequence INTO v_shard, v_next FROM ledger.account WHERE id = p_account;
    IF v_next >= p_before THEN
        -- A page begins where the last one ended, on a transfer of this account; anywhere else the next mark is near.
        SELECT CASE WHEN debit = p_account THEN debit_previous ELSE credit_previous END INTO v_next
        FROM ledger.transfer
        WHERE shard = v_shard AND sequence = p_before AND p_account IN (debit, credit);
        IF NOT FOUND THEN
            SELECT COALESCE(MIN(m.sequence), (SELECT a.sequence FROM ledger.account AS a WHERE a.id = p_account)) INTO v_next
            FROM ledger.account_mark AS m
            WHERE m.account = p_account AND m.sequence >= p_before;
        END IF;
    END IF;
    WHILE v_next > p_after AND v_left > 0 LOOP
        SELECT sequence, block, posted_at, amount, debit_balance, credit_balance, debit_previous, credit_previous, fingerprint,
               shard, currency, kind, request_size, id, debit, credit, reference
        INTO STRICT v_row
        FROM ledger.transfer
        WHERE shard = v_shard AND sequence = v_next;
        IF p_account NOT IN (v_row.debit, v_row.credit) THEN
            RAISE EXCEPTION 'transfer % is not one of account %', v_next, p_account USING ERRCODE = 'data_corrupted';
        END IF;
        IF p_before IS NULL OR v_next < p_before THEN
            RETURN NEXT v_row;
            v_left := v_left - 1;
        END IF;
        v_next := CASE WHEN v_row.debit = p_account THEN v_row.debit_previous ELSE v_row.credit_previous END;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger.history IS 'An account''s transfers, newest first.';

-- An account's transfers after p_after, oldest first: from mark to mark, each stretch walked back and turned round.
CREATE FUNCTION ledger.statement(p_account uuid, p_after bigint, p_limit bigint) RETURNS SETOF ledger.transfer
LANGUAGE plpgsql STABLE ROWS 1000 AS $$
DECLARE
    v_last  bigint;
    v_after bigint := p_after;
    v_to    bigint;
    v_left  bigint := p_limit;
    v_rows  ledger.transfer[];
    v_row   ledger.transfer;
BEGIN
    SELECT sequence INTO v_last FROM ledger.account WHERE id = p_account;
    WHILE v_after < v_last AND v_left > 0 LOOP
        SELECT COALESCE(MIN(sequence), v_last) INTO v_to
        FROM ledger.account_mark
        WHERE account = p_account AND sequence > v_after;
        SELECT ARRAY_AGG(h ORDER BY h.sequence) INTO v_rows
        FROM ledger.history(p_account, v_to + 1, v_after, 9223372036854775807) AS h;
        FOREACH v_row IN ARRAY v_rows LOOP
            EXIT WHEN v_left = 0;
            RETURN NEXT v_row;
            v_left := v_left - 1;
        END LOOP;
        v_after := v_to;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger.statement IS 'An account''s transfers, oldest first.';

-- Refuses a replica whose clock is more than p_ahead_ms ahead of the database's. Time in the books never goes back: one wrong stamp would set it ahead for good.
CREATE FUNCTION ledger.check_clock(p_clock timestamptz, p_ahead_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_clock > CLOCK_TIMESTAMP() + p_ahead_ms * INTERVAL '1 millisecond' THEN
        RAISE EXCEPTION 'the clock of the replica is % ahead of the database''s', p_clock - CLOCK_TIMESTAMP()
            USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'ledger_clock_ahead';
    END IF;
END $$;
COMMENT ON FUNCTION ledger.check_clock IS 'Refuses a replica whose clock is far ahead of the database''s.';

-- Writes a batch that was decided on the books as they were after block p_last_block, in one statement and therefore one round trip.
-- p_clock is what the clock of the replica's machine said when the batch was stamped, p_ahead_ms how far ahead it may be.
-- 'posted'; or, with nothing written, 'moved' when the books have moved on, 'known' when a key has been answered before.
-- Locks the shard's row first; each statement after it has a snapshot of its own, taken under the lock.
CREATE FUNCTION ledger.post(
    p_shard smallint, p_clock timestamptz, p_ahead_ms bigint, p_last_block bigint, p_last_hash bytea,
    p_posted_at timestamptz, p_first_sequence bigint, p_records integer, p_transfer_root bytea, p_record_root bytea, p_balance_hash bytea, p_salt uuid, p_hash bytea,
    p_request_key uuid[],
    p_account uuid[], p_posted bigint[], p_held bigint[], p_promised bigint[], p_sequence bigint[], p_transfers bigint[], p_frozen smallint[], p_closed boolean[],
    p_usage bigint[], p_usage_first integer[], p_usage_last integer[],
    p_id uuid[], p_debit uuid[], p_credit uuid[], p_reference uuid[], p_amount bigint[], p_debit_balance bigint[], p_credit_balance bigint[],
    p_debit_previous bigint[], p_credit_previous bigint[], p_fingerprint bigint[], p_currency smallint[], p_kind smallint[], p_request_size smallint[],
    p_mark_account uuid[], p_mark_sequence bigint[],
    p_channel text
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_head    record;
    v_changed bigint;
BEGIN
    PERFORM ledger.check_clock(p_clock, p_ahead_ms);
    SELECT block, hash INTO STRICT v_head FROM ledger.shard WHERE shard = p_shard FOR UPDATE;
    IF v_head.block <> p_last_block OR v_head.hash <> p_last_hash THEN
        RETURN 'moved';
    END IF;
    IF EXISTS (SELECT 1 FROM ledger.request WHERE request_key = ANY (p_id)) THEN
        RETURN 'known';
    END IF;
    IF CARDINALITY(p_request_key) > 0 AND EXISTS (SELECT 1 FROM ledger.transfer WHERE id = ANY (p_request_key)) THEN
        RETURN 'known';
    END IF;
    -- Arrays are read by subscript, which is at once for elements of fixed width: an UNNEST of many arrays stores each of them once more.
    -- What accounts have spent stands one after the other in p_usage, each from first to last.
    UPDATE ledger.account
    SET posted = p_posted[n], held = p_held[n], promised = p_promised[n], sequence = p_sequence[n], transfers = p_transfers[n],
        frozen = p_frozen[n], closed = p_closed[n], usage = p_usage[p_usage_first[n]:p_usage_last[n]]
    FROM GENERATE_SERIES(1, CARDINALITY(p_account)) AS n
    WHERE id = p_account[n];
    GET DIAGNOSTICS v_changed = ROW_COUNT;
    IF v_changed <> CARDINALITY(p_account) THEN
        RAISE EXCEPTION '% accounts were changed where % should have been', v_changed, CARDINALITY(p_account) USING ERRCODE = 'data_corrupted';
    END IF;
    INSERT INTO ledger.transfer (shard, block, posted_at, sequence, id, debit, credit, reference, amount, debit_balance, credit_balance,
                                 debit_previous, credit_previous, fingerprint, currency, kind, request_size)
    SELECT p_shard, p_last_block + 1, p_posted_at, p_first_sequence + n - 1, p_id[n], p_debit[n], p_credit[n], p_reference[n], p_amount[n], p_debit_balance[n], p_credit_balance[n],
           p_debit_previous[n], p_credit_previous[n], p_fingerprint[n], p_currency[n], p_kind[n], p_request_size[n]
    FROM GENERATE_SERIES(1, CARDINALITY(p_id)) AS n;
    IF CARDINALITY(p_mark_account) > 0 THEN
        INSERT INTO ledger.account_mark (account, sequence) SELECT m.account, m.sequence FROM UNNEST(p_mark_account, p_mark_sequence) AS m (account, sequence);
    END IF;
    INSERT INTO ledger.block (shard, number, posted_at, first_sequence, transfers, records, transfer_root, record_root, balance_hash, previous_hash, hash, salt)
    VALUES (p_shard, p_last_block + 1, p_posted_at, p_first_sequence, CARDINALITY(p_id), p_records, p_transfer_root, p_record_root, p_balance_hash, p_last_hash, p_hash, p_salt);
    UPDATE ledger.shard
    SET sequence = p_first_sequence + CARDINALITY(p_id) - 1, block = p_last_block + 1, posted_at = p_posted_at, hash = p_hash
    WHERE shard = p_shard;
    PERFORM pg_notify(p_channel, p_shard::text);
    RETURN 'posted';
END $$;
COMMENT ON FUNCTION ledger.post IS 'Writes a decided batch under the shard''s lock, unless the books have moved on since it was decided.';
REVOKE ALL ON FUNCTION ledger.post, ledger.check_clock, ledger.history, ledger.statement FROM PUBLIC;

-- The wallet runs the ledger: it may add to history and move the state that the shard's lock guards, and nothing else.
GRANT USAGE ON SCHEMA ledger TO trangtien_wallet;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO trangtien_wallet;
GRANT INSERT ON ledger.block, ledger.transfer, ledger.request, ledger.account_change, ledger.account_kind, ledger.transfer_kind, ledger.account, ledger.account_mark, ledger.hold, ledger.refund TO trangtien_wallet;
GRANT EXECUTE ON FUNCTION ledger.post, ledger.check_clock, ledger.history, ledger.statement TO trangtien_wallet;
GRANT UPDATE (sequence, block, posted_at, hash) ON ledger.shard TO trangtien_wallet;
GRANT UPDATE (posted, held, promised, sequence, transfers, frozen, closed, usage) ON ledger.account TO trangtien_wallet;
GRANT UPDATE (confirming_block, confirming_at, ended_block, ended_at, ending, posted_amount, transfer) ON ledger.hold TO trangtien_wallet;
