-- Citizens as the wallet knows them, merchants with their tills, top-ups, and what payments were for.
-- The money itself is in schema ledger; here is only what the ledger has no word for.

SET LOCAL lock_timeout = '5s';

GRANT USAGE ON SCHEMA wallet TO trangtien_wallet;

CREATE TABLE wallet.citizen (
    user_id    uuid        NOT NULL,
    tier       smallint    NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT citizen_pk PRIMARY KEY (user_id),
    CONSTRAINT citizen_tier_ck CHECK (tier BETWEEN 0 AND 2)
);
COMMENT ON TABLE wallet.citizen IS 'How well each citizen is known, from the events of identity; a citizen who is not here yet counts as tier 0.';
GRANT SELECT, INSERT, UPDATE ON wallet.citizen TO trangtien_wallet;

CREATE TABLE wallet.merchant (
    id            uuid        NOT NULL,
    number        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    owner_user_id uuid        NOT NULL,
    name          text        NOT NULL,
    qr_name       text        NOT NULL,
    city          text        NOT NULL,
    qr_city       text        NOT NULL,
    category      text,
    created_at    timestamptz NOT NULL,
    CONSTRAINT merchant_pk PRIMARY KEY (id),
    CONSTRAINT merchant_number_uq UNIQUE (number),
    CONSTRAINT merchant_name_ck CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT merchant_qr_name_ck CHECK (qr_name ~ '^[ -~]{1,25}$'),
    CONSTRAINT merchant_city_ck CHECK (length(city) BETWEEN 1 AND 60),
    CONSTRAINT merchant_qr_city_ck CHECK (qr_city ~ '^[ -~]{1,15}$'),
    CONSTRAINT merchant_category_ck CHECK (category ~ '^[0-9]{4}$')
);
CREATE INDEX merchant_owner_ix ON wallet.merchant (owner_user_id, id);
COMMENT ON TABLE wallet.merchant IS 'Who takes payments. The number makes the virtual account at the bank; qr_name and qr_city are what codes show.';
GRANT SELECT, INSERT ON wallet.merchant TO trangtien_wallet;

CREATE TABLE wallet.store (
    id          uuid        NOT NULL,
    merchant_id uuid        NOT NULL,
    name        text        NOT NULL,
    address     text,
    created_at  timestamptz NOT NULL,
    CONSTRAINT store_pk PRIMARY KEY (id),
    CONSTRAINT store_merchant_fk FOREIGN KEY (merchant_id) REFERENCES wallet.merchant (id),
    CONSTRAINT store_name_ck CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT store_address_ck CHECK (length(address) BETWEEN 1 AND 200)
);
CREATE INDEX store_merchant_ix ON wallet.store (merchant_id, id);
COMMENT ON TABLE wallet.store IS 'A place where a merchant sells.';
GRANT SELECT, INSERT ON wallet.store TO trangtien_wallet;

CREATE TABLE wallet.till (
    id          uuid        NOT NULL,
    store_id    uuid        NOT NULL,
    merchant_id uuid        NOT NULL,
    name        text        NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT till_pk PRIMARY KEY (id),
    CONSTRAINT till_store_fk FOREIGN KEY (store_id) REFERENCES wallet.store (id),
    CONSTRAINT till_merchant_fk FOREIGN KEY (merchant_id) REFERENCES wallet.merchant (id),
    CONSTRAINT till_name_ck CHECK (length(name) BETWEEN 1 AND 100)
);
CREATE INDEX till_store_ix ON wallet.till (store_id, id);
CREATE INDEX till_merchant_ix ON wallet.till (merchant_id);
COMMENT ON TABLE wallet.till IS 'Where one payment is taken; its QR code is made from what stands here and never changes.';
GRANT SELECT, INSERT ON wallet.till TO trangtien_wallet;

CREATE TABLE wallet.top_up (
    id              uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    idempotency_key text        NOT NULL,
    fingerprint     bytea       NOT NULL,
    bank_code       text        NOT NULL,
    account         text        NOT NULL,
    amount          bigint      NOT NULL,
    state           text        NOT NULL,
    bank_reference  text,
    reason          text,
    transfer_id     uuid,
    requested_at    timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT top_up_pk PRIMARY KEY (id),
    CONSTRAINT top_up_key_uq UNIQUE (user_id, idempotency_key),
    CONSTRAINT top_up_key_ck CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT top_up_fingerprint_ck CHECK (length(fingerprint) = 32),
    CONSTRAINT top_up_account_ck CHECK (account ~ '^[0-9A-Za-z]{1,19}$'),
    CONSTRAINT top_up_amount_ck CHECK (amount > 0),
    CONSTRAINT top_up_state_ck CHECK (state IN ('requested', 'unknown', 'submitted', 'completed', 'failed')),
    CONSTRAINT top_up_completed_ck CHECK ((state = 'completed') = (transfer_id IS NOT NULL)),
    CONSTRAINT top_up_reason_ck CHECK ((state = 'failed') = (reason IS NOT NULL))
);
CREATE UNIQUE INDEX top_up_transfer_uq ON wallet.top_up (transfer_id) WHERE transfer_id IS NOT NULL;
CREATE INDEX top_up_open_ix ON wallet.top_up (state) WHERE state NOT IN ('completed', 'failed');
COMMENT ON TABLE wallet.top_up IS 'Money asked from a bank; saved before the bank is asked. Only the batch that posts the money makes a row completed.';
GRANT SELECT, INSERT ON wallet.top_up TO trangtien_wallet;
GRANT UPDATE (state, bank_reference, reason, transfer_id, updated_at) ON wallet.top_up TO trangtien_wallet;

CREATE TABLE wallet.payment (
    id                     uuid        NOT NULL,
    sequence               bigint      NOT NULL,
    payer_user_id          uuid        NOT NULL,
    merchant_id            uuid        NOT NULL,
    merchant_owner_user_id uuid        NOT NULL,
    merchant_name          text        NOT NULL,
    till_id                uuid        NOT NULL,
    amount                 bigint      NOT NULL,
    note                   text,
    paid_at                timestamptz NOT NULL,
    CONSTRAINT payment_pk PRIMARY KEY (id),
    CONSTRAINT payment_amount_ck CHECK (amount > 0),
    CONSTRAINT payment_note_ck CHECK (length(note) BETWEEN 1 AND 140)
);
CREATE INDEX payment_merchant_ix ON wallet.payment (merchant_id, sequence);
COMMENT ON TABLE wallet.payment IS 'What a transfer of kind payment was for: id and sequence are the transfer''s. Written in its batch and never changed. No foreign keys: merchants and tills are never removed, and a key would take a row lock for each payment of a busy merchant.';
GRANT SELECT, INSERT ON wallet.payment TO trangtien_wallet;

CREATE FUNCTION wallet.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
CREATE TRIGGER payment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wallet.payment
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
