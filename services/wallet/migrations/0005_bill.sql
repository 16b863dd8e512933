-- Bills that citizens see once they have linked a customer code, and how they pay them.
SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet.bill_subscription (
    id            uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    biller_code   text        NOT NULL,
    customer_code text        NOT NULL,
    label         text,
    created_at    timestamptz NOT NULL,
    CONSTRAINT bill_subscription_pk PRIMARY KEY (id),
    CONSTRAINT bill_subscription_customer_uq UNIQUE (user_id, biller_code, customer_code),
    CONSTRAINT bill_subscription_customer_ck CHECK (length(customer_code) BETWEEN 4 AND 20),
    CONSTRAINT bill_subscription_label_ck CHECK (length(label) BETWEEN 1 AND 60)
);
COMMENT ON TABLE wallet.bill_subscription IS 'A customer code at a biller that a citizen has linked: its bills stand in their list.';
GRANT SELECT, INSERT, DELETE ON wallet.bill_subscription TO trangtien_wallet;

CREATE TABLE wallet.bill (
    id            uuid        NOT NULL,
    biller_code   text        NOT NULL,
    customer_code text        NOT NULL,
    kind          text        NOT NULL,
    reference     text        NOT NULL,
    period        text        NOT NULL,
    amount        bigint      NOT NULL,
    issued_on     date        NOT NULL,
    due_on        date        NOT NULL,
    details       jsonb       NOT NULL,
    status        text        NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT bill_pk PRIMARY KEY (id),
    CONSTRAINT bill_reference_uq UNIQUE (biller_code, reference),
    CONSTRAINT bill_kind_ck CHECK (kind IN ('electricity', 'water')),
    CONSTRAINT bill_reference_ck CHECK (length(reference) BETWEEN 1 AND 64),
    CONSTRAINT bill_period_ck CHECK (length(period) BETWEEN 1 AND 16),
    CONSTRAINT bill_amount_ck CHECK (amount > 0),
    CONSTRAINT bill_status_ck CHECK (status IN ('open', 'closed'))
);
CREATE INDEX bill_customer_ix ON wallet.bill (biller_code, customer_code, due_on, id);
COMMENT ON TABLE wallet.bill IS 'What billers ask for, as fetched; shared by all who have linked the customer. Closed: the biller asks for it no more. Whether it was paid here is said by its payment.';
GRANT SELECT, INSERT ON wallet.bill TO trangtien_wallet;
GRANT UPDATE (amount, due_on, details, status, updated_at) ON wallet.bill TO trangtien_wallet;

CREATE TABLE wallet.bill_payment (
    id               uuid        NOT NULL,
    user_id          uuid        NOT NULL,
    session_id       uuid        NOT NULL,
    idempotency_key  text        NOT NULL,
    fingerprint      bytea       NOT NULL,
    bill_id          uuid        NOT NULL,
    biller_code      text        NOT NULL,
    customer_code    text        NOT NULL,
    kind             text        NOT NULL,
    reference        text        NOT NULL,
    period           text        NOT NULL,
    amount           bigint      NOT NULL,
    state            text        NOT NULL,
    biller_reference text,
    reason           text,
    transfer_id      uuid,
    requested_at     timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT bill_payment_pk PRIMARY KEY (id),
    CONSTRAINT bill_payment_bill_fk FOREIGN KEY (bill_id) REFERENCES wallet.bill (id),
    CONSTRAINT bill_payment_key_uq UNIQUE (user_id, idempotency_key),
    CONSTRAINT bill_payment_key_ck CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT bill_payment_fingerprint_ck CHECK (length(fingerprint) = 32),
    CONSTRAINT bill_payment_amount_ck CHECK (amount > 0),
    CONSTRAINT bill_payment_state_ck CHECK (state IN ('requested', 'held', 'confirming', 'unknown', 'paid', 'failed')),
    CONSTRAINT bill_payment_paid_ck CHECK ((state = 'paid') = (transfer_id IS NOT NULL)),
    CONSTRAINT bill_payment_reason_ck CHECK ((state = 'failed') = (reason IS NOT NULL))
);
CREATE UNIQUE INDEX bill_payment_live_uq ON wallet.bill_payment (bill_id) WHERE state <> 'failed';
CREATE UNIQUE INDEX bill_payment_transfer_uq ON wallet.bill_payment (transfer_id) WHERE transfer_id IS NOT NULL;
CREATE INDEX bill_payment_open_ix ON wallet.bill_payment (state) WHERE state NOT IN ('paid', 'failed');
CREATE INDEX bill_payment_open_user_ix ON wallet.bill_payment (user_id) WHERE state NOT IN ('paid', 'failed');
COMMENT ON TABLE wallet.bill_payment IS 'A citizen pays a bill; saved before any money is set aside. Only batches of the ledger make a row held or paid. A bill has at most one that has not failed.';
GRANT SELECT, INSERT ON wallet.bill_payment TO trangtien_wallet;
GRANT UPDATE (state, biller_reference, reason, transfer_id, updated_at) ON wallet.bill_payment TO trangtien_wallet;
