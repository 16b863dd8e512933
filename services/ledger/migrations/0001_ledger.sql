-- The double-entry ledger.
--
-- History (block, transfer, request, account_change) is only ever added to: the runtime role has no right to change it, and triggers refuse UPDATE, DELETE and TRUNCATE to everyone.
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
    previous_hash  bytea       NOT NULL,
    hash           bytea       NOT NULL,
    CONSTRAINT block_pkey PRIMARY KEY (shard, number),
    CONSTRAINT block_counts CHECK (number > 0 AND first_sequence > 0 AND transfers >= 0 AND records >= 0),
    CONSTRAINT block_hash_length CHECK (length(transfer_root) = 32 AND length(record_root) = 32 AND length(previous_hash) = 32 AND length(hash) = 32)
);
COMMENT ON TABLE ledger.block IS 'One committed batch: the RFC 6962 root over its transfers, the root over its other records, chained to the block before. History.';

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
    name  text     NOT NULL,
    CONSTRAINT transfer_kind_pkey PRIMARY KEY (shard, code),
    CONSTRAINT transfer_kind_name_key UNIQUE (shard, name),
    CONSTRAINT transfer_kind_name_plain CHECK (name ~ '^[a-z0-9_]{1,40}$')
);
COMMENT ON TABLE ledger.transfer_kind IS 'Names of the kinds of transfers, written on a kind''s first use. History.';

CREATE TABLE ledger.account (
    posted       bigint      NOT NULL,
    held         bigint      NOT NULL,
    promised     bigint      NOT NULL,
    sequence     bigint      NOT NULL,
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
    CONSTRAINT account_pkey PRIMARY KEY (id),
    CONSTRAINT account_floor CHECK (floor IS NULL OR posted - held >= floor),
    CONSTRAINT account_reserves CHECK (held >= 0 AND promised >= 0),
    CONSTRAINT account_frozen_known CHECK (frozen BETWEEN 0 AND 3),
    CONSTRAINT account_closed_empty CHECK (NOT closed OR (posted = 0 AND held = 0 AND promised = 0))
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger.account IS 'Accounts with their balances: posted = credits - debits; held and promised are what open holds set aside from and for it. No index on what changes, so that updates stay in their page.';
CREATE INDEX account_owner ON ledger.account (owner);
CREATE INDEX account_opened ON ledger.account (shard, opened_block, id);

CREATE TABLE ledger.transfer (
    sequence       bigint      NOT NULL,
    block          bigint      NOT NULL,
    posted_at      timestamptz NOT NULL,
    amount         bigint      NOT NULL,
    debit_balance  bigint      NOT NULL,
    credit_balance bigint      NOT NULL,
    shard          smallint    NOT NULL,
    currency       smallint    NOT NULL,
    kind           smallint    NOT NULL,
    request_size   smallint    NOT NULL,
    id             uuid        NOT NULL,
    debit          uuid        NOT NULL,
    credit         uuid        NOT NULL,
    reference      uuid        NOT NULL,
    request_key    uuid,
    fingerprint    uuid,
    CONSTRAINT transfer_pkey PRIMARY KEY (shard, sequence),
    CONSTRAINT transfer_id_key UNIQUE (id),
    CONSTRAINT transfer_amount_positive CHECK (amount > 0),
    CONSTRAINT transfer_two_accounts CHECK (debit <> credit)
);
COMMENT ON TABLE ledger.transfer IS 'The journal: one row moves one amount from the debited account to the credited one and carries both balances after it. The first transfer of a request carries its key, its fingerprint and how many transfers it made (request_size); further ones carry none. History.';
CREATE UNIQUE INDEX transfer_request ON ledger.transfer (request_key) WHERE request_key IS NOT NULL;
CREATE INDEX transfer_debit ON ledger.transfer (debit, sequence);
CREATE INDEX transfer_credit ON ledger.transfer (credit, sequence);

CREATE TABLE ledger.request (
    block       bigint   NOT NULL,
    shard       smallint NOT NULL,
    request_key uuid     NOT NULL,
    fingerprint uuid     NOT NULL,
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
CREATE INDEX hold_open_debit ON ledger.hold (debit) WHERE ended_block IS NULL;
CREATE INDEX hold_open_credit ON ledger.hold (credit) WHERE ended_block IS NULL;
CREATE INDEX hold_due ON ledger.hold (shard, expires_at) WHERE ended_block IS NULL AND confirming_block IS NULL AND expires_at IS NOT NULL;

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
CREATE TRIGGER request_immutable BEFORE UPDATE OR DELETE ON ledger.request FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER request_kept BEFORE TRUNCATE ON ledger.request FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_change_immutable BEFORE UPDATE OR DELETE ON ledger.account_change FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_change_kept BEFORE TRUNCATE ON ledger.account_change FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_kind_immutable BEFORE UPDATE OR DELETE ON ledger.account_kind FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_kind_kept BEFORE TRUNCATE ON ledger.account_kind FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER transfer_kind_immutable BEFORE UPDATE OR DELETE ON ledger.transfer_kind FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER transfer_kind_kept BEFORE TRUNCATE ON ledger.transfer_kind FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Accounts and holds stay, and a hold that has ended stays as it ended.
CREATE TRIGGER account_never_deleted BEFORE DELETE ON ledger.account FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER account_kept BEFORE TRUNCATE ON ledger.account FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER hold_never_deleted BEFORE DELETE ON ledger.hold FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER hold_kept BEFORE TRUNCATE ON ledger.hold FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER hold_ended_immutable BEFORE UPDATE ON ledger.hold FOR EACH ROW WHEN (OLD.ended_block IS NOT NULL) EXECUTE FUNCTION ledger.refuse_change();

-- The wallet runs the ledger: it may add to history and move the state that the shard's lock guards, and nothing else.
GRANT USAGE ON SCHEMA ledger TO trangtien_wallet;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO trangtien_wallet;
GRANT INSERT ON ledger.block, ledger.transfer, ledger.request, ledger.account_change, ledger.account_kind, ledger.transfer_kind, ledger.account, ledger.hold TO trangtien_wallet;
GRANT UPDATE (sequence, block, posted_at, hash) ON ledger.shard TO trangtien_wallet;
GRANT UPDATE (posted, held, promised, sequence, frozen, closed) ON ledger.account TO trangtien_wallet;
GRANT UPDATE (confirming_block, confirming_at, ended_block, ended_at, ending, posted_amount, transfer) ON ledger.hold TO trangtien_wallet;
