-- A posting costs the server less, a small batch most of all.

SET LOCAL lock_timeout = '5s';

-- The server clears a page of old versions at every look once less is free than the fill factor leaves. With pages that were filled to just that, small batches cleared a page for each account.
-- Now an account is opened with room in its row that its first change gives up, so that pages are emptier than they are filled to, and are cleared after some changes.
ALTER TABLE ledger.account ADD COLUMN room bytea;
ALTER TABLE ledger.account SET (fillfactor = 80);
COMMENT ON COLUMN ledger.account.room IS 'Says nothing: keeps room on its page for the versions to come, until the first change.';
GRANT UPDATE (room) ON ledger.account TO trangtien_wallet;

-- Writes a batch that was decided on the books as they were after block p_last_block, in one statement and therefore one round trip.
-- p_clock is what the clock of the replica's machine said when the batch was stamped, p_ahead_ms how far ahead it may be.
-- p_held, p_promised, p_frozen and p_closed are empty when no account changes in any of them. p_currency, p_kind and p_request_size have one element when it is that of all transfers.
-- p_id_from and p_id_to are the lowest and the highest of p_id, NULL when there is none.
-- TRUE; or, with nothing written, FALSE when the books have moved on. Violates request_pkey or transfer_id_key when a key has been answered before.
-- Moves the shard's head first, whose row is the lock; each statement after it has a snapshot of its own, taken under the lock.
CREATE FUNCTION ledger.post_batch(
    p_shard smallint, p_clock timestamptz, p_ahead_ms bigint, p_last_block bigint, p_last_hash bytea,
    p_posted_at timestamptz, p_first_sequence bigint, p_records integer, p_transfer_root bytea, p_record_root bytea, p_balance_hash bytea, p_salt uuid, p_hash bytea,
    p_request_key uuid[],
    p_account uuid[], p_posted bigint[], p_held bigint[], p_promised bigint[], p_sequence bigint[], p_transfers bigint[], p_frozen smallint[], p_closed boolean[],
    p_usage bytea, p_usage_end integer[],
    p_id_from uuid, p_id_to uuid, p_id uuid[], p_debit uuid[], p_credit uuid[], p_reference uuid[], p_amount bigint[], p_debit_balance bigint[], p_credit_balance bigint[],
    p_debit_previous bigint[], p_credit_previous bigint[], p_fingerprint bigint[], p_currency smallint[], p_kind smallint[], p_request_size smallint[],
    p_mark_account uuid[], p_mark_sequence bigint[],
    p_channel text
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_changed      bigint;
    v_currency     CONSTANT smallint := CASE CARDINALITY(p_currency) WHEN 1 THEN p_currency[1] END;
    v_kind         CONSTANT smallint := CASE CARDINALITY(p_kind) WHEN 1 THEN p_kind[1] END;
    v_request_size CONSTANT smallint := CASE CARDINALITY(p_request_size) WHEN 1 THEN p_request_size[1] END;
BEGIN
    -- What IF can work out by itself is no statement.
    IF p_clock > CLOCK_TIMESTAMP() + p_ahead_ms * INTERVAL '1 millisecond' THEN
        PERFORM ledger.check_clock(p_clock, p_ahead_ms);
    END IF;
    IF p_first_sequence < 1 OR p_records < 0
       OR LENGTH(p_transfer_root) <> 32 OR LENGTH(p_record_root) <> 32 OR LENGTH(p_balance_hash) <> 32 OR LENGTH(p_hash) <> 32 THEN
        RAISE EXCEPTION 'block % is not one', p_last_block + 1 USING ERRCODE = 'check_violation', CONSTRAINT = 'block_well_formed';
    END IF;
    UPDATE ledger.shard
    SET sequence = p_first_sequence + CARDINALITY(p_id) - 1, block = p_last_block + 1, posted_at = p_posted_at, hash = p_hash
    WHERE shard = p_shard AND block = p_last_block AND hash = p_last_hash;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    -- Keys begin with their time, so that hardly ever one that was refused is among those of a batch: one look in place of one for each.
    IF EXISTS (SELECT 1 FROM ledger.request WHERE request_key BETWEEN p_id_from AND p_id_to) THEN
        IF EXISTS (SELECT 1 FROM ledger.request WHERE request_key = ANY (p_id)) THEN
            RAISE EXCEPTION 'a key has been answered before' USING ERRCODE = 'unique_violation', CONSTRAINT = 'request_pkey';
        END IF;
    END IF;
    IF CARDINALITY(p_request_key) > 0 THEN
        IF EXISTS (SELECT 1 FROM ledger.transfer WHERE id = ANY (p_request_key)) THEN
            RAISE EXCEPTION 'a key has been answered before' USING ERRCODE = 'unique_violation', CONSTRAINT = 'transfer_id_key';
        END IF;
    END IF;
    -- Arrays are read by subscript, which is at once for elements of fixed width: an UNNEST of many arrays stores each of them once more.
    -- No array is sliced: a slice copies the whole of it first. What accounts have spent stands one after the other in p_usage; p_usage_end begins with a zero.
    IF CARDINALITY(p_held) = 0 THEN
        UPDATE ledger.account
        SET posted = p_posted[n], sequence = p_sequence[n], transfers = p_transfers[n],
            usage = SUBSTR(p_usage, p_usage_end[n] + 1, p_usage_end[n + 1] - p_usage_end[n]), room = NULL
        FROM GENERATE_SERIES(1, CARDINALITY(p_account)) AS n
        WHERE id = p_account[n];
    ELSE
        UPDATE ledger.account
        SET posted = p_posted[n], held = p_held[n], promised = p_promised[n], sequence = p_sequence[n], transfers = p_transfers[n],
            frozen = p_frozen[n], closed = p_closed[n], usage = SUBSTR(p_usage, p_usage_end[n] + 1, p_usage_end[n + 1] - p_usage_end[n]), room = NULL
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
           p_debit_previous[n], p_credit_previous[n], p_fingerprint[n], COALESCE(v_currency, p_currency[n]), COALESCE(v_kind, p_kind[n]), COALESCE(v_request_size, p_request_size[n])
    FROM GENERATE_SERIES(1, CARDINALITY(p_id)) AS n;
    IF CARDINALITY(p_mark_account) > 0 THEN
        INSERT INTO ledger.account_mark (account, sequence) SELECT m.account, m.sequence FROM UNNEST(p_mark_account, p_mark_sequence) AS m (account, sequence);
    END IF;
    INSERT INTO ledger.block (shard, number, posted_at, first_sequence, transfers, records, transfer_root, record_root, balance_hash, previous_hash, hash, salt)
    VALUES (p_shard, p_last_block + 1, p_posted_at, p_first_sequence, CARDINALITY(p_id), p_records, p_transfer_root, p_record_root, p_balance_hash, p_last_hash, p_hash, p_salt);
    PERFORM pg_notify(p_channel, p_shard::text);
    RETURN TRUE;
END $$;
COMMENT ON FUNCTION ledger.post_batch IS 'Writes a decided batch under the shard''s lock, unless the books have moved on since it was decided.';
COMMENT ON FUNCTION ledger.post IS 'What ledger.post_batch was before; for processes of the version before, until they have ended.';
REVOKE ALL ON FUNCTION ledger.post_batch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.post_batch TO trangtien_wallet;
