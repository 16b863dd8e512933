-- A posting costs the server less.
--
-- What accounts have spent is stored as bytes: a slice of an array cost each account a copy of the whole array.

SET LOCAL lock_timeout = '5s';

CREATE FUNCTION ledger.usage_as_bytes(p_usage bigint[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(STRING_AGG(INT8SEND(u.number), ''::bytea ORDER BY u.place), '') FROM UNNEST(p_usage) WITH ORDINALITY AS u (number, place)
$$;
ALTER TABLE ledger.account ALTER COLUMN usage DROP DEFAULT;
ALTER TABLE ledger.account ALTER COLUMN usage TYPE bytea USING ledger.usage_as_bytes(usage);
ALTER TABLE ledger.account ALTER COLUMN usage SET DEFAULT '';
DROP FUNCTION ledger.usage_as_bytes;
COMMENT ON TABLE ledger.account IS 'Accounts with their balances: posted = credits - debits; held and promised are what open holds set aside from and for it; usage is what it spent, in numbers of 8 bytes, the highest first: the last day on which it spent anything, then for each class its code, the day''s and the month''s total. No index on what changes, so that updates stay in their page.';

-- The server reads each CHECK of a table anew from its text for every statement that writes to it: these six took a sixth of the time of a batch of one.
-- What they say is kept by ledger.post, which alone writes heads and blocks; by the engine, which follows every account's chain through a batch before it seals it,
-- and refuses to read a hash of another length or a freeze that there is not; and by `verify`, which works all of it out again.
ALTER TABLE ledger.shard DROP CONSTRAINT shard_sequence_from_zero, DROP CONSTRAINT shard_hash_length;
ALTER TABLE ledger.block DROP CONSTRAINT block_counts, DROP CONSTRAINT block_hash_length;
ALTER TABLE ledger.transfer DROP CONSTRAINT transfer_previous;
ALTER TABLE ledger.account DROP CONSTRAINT account_frozen_known;

DROP FUNCTION ledger.post;
-- Writes a batch that was decided on the books as they were after block p_last_block, in one statement and therefore one round trip.
-- p_clock is what the clock of the replica's machine said when the batch was stamped, p_ahead_ms how far ahead it may be.
-- p_held, p_promised, p_frozen and p_closed are empty when no account changes in any of them.
-- 'posted'; or, with nothing written, 'moved' when the books have moved on, 'known' when a key has been answered before.
-- Locks the shard's row first; each statement after it has a snapshot of its own, taken under the lock.
CREATE FUNCTION ledger.post(
    p_shard smallint, p_clock timestamptz, p_ahead_ms bigint, p_last_block bigint, p_last_hash bytea,
    p_posted_at timestamptz, p_first_sequence bigint, p_records integer, p_transfer_root bytea, p_record_root bytea, p_balance_hash bytea, p_salt uuid, p_hash bytea,
    p_request_key uuid[],
    p_account uuid[], p_posted bigint[], p_held bigint[], p_promised bigint[], p_sequence bigint[], p_transfers bigint[], p_frozen smallint[], p_closed boolean[],
    p_usage bytea, p_usage_end integer[],
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
    IF p_first_sequence < 1 OR p_records < 0
       OR LENGTH(p_transfer_root) <> 32 OR LENGTH(p_record_root) <> 32 OR LENGTH(p_balance_hash) <> 32 OR LENGTH(p_hash) <> 32 THEN
        RAISE EXCEPTION 'block % is not one', p_last_block + 1 USING ERRCODE = 'check_violation', CONSTRAINT = 'block_well_formed';
    END IF;
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
    -- No array is sliced: a slice copies the whole of it first. What accounts have spent stands one after the other in p_usage; p_usage_end begins with a zero.
    IF CARDINALITY(p_held) = 0 THEN
        UPDATE ledger.account
        SET posted = p_posted[n], sequence = p_sequence[n], transfers = p_transfers[n],
            usage = SUBSTR(p_usage, p_usage_end[n] + 1, p_usage_end[n + 1] - p_usage_end[n])
        FROM GENERATE_SERIES(1, CARDINALITY(p_account)) AS n
        WHERE id = p_account[n];
    ELSE
        UPDATE ledger.account
        SET posted = p_posted[n], held = p_held[n], promised = p_promised[n], sequence = p_sequence[n], transfers = p_transfers[n],
            frozen = p_frozen[n], closed = p_closed[n], usage = SUBSTR(p_usage, p_usage_end[n] + 1, p_usage_end[n + 1] - p_usage_end[n])
        FROM GENERATE_SERIES(1, CARDINALITY(p_account)) AS n
        WHERE id = p_account[n];
    END IF;
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
REVOKE ALL ON FUNCTION ledger.post FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.post TO trangtien_wallet;
