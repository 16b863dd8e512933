-- What merchants gave back of payments.
SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet.refund (
    id               uuid        NOT NULL,
    sequence         bigint      NOT NULL,
    payment_id       uuid        NOT NULL,
    refunder_user_id uuid        NOT NULL,
    amount           bigint      NOT NULL,
    reason           text,
    refunded_at      timestamptz NOT NULL,
    CONSTRAINT refund_pk PRIMARY KEY (id),
    CONSTRAINT refund_amount_ck CHECK (amount > 0),
    CONSTRAINT refund_reason_ck CHECK (length(reason) BETWEEN 1 AND 140)
);
CREATE INDEX refund_payment_ix ON wallet.refund (payment_id, sequence);
COMMENT ON TABLE wallet.refund IS 'What a transfer of kind refund was for: id and sequence are the transfer''s. Written in its batch and never changed. How much may be given back is decided by the ledger, not from here.';
GRANT SELECT, INSERT ON wallet.refund TO trangtien_wallet;
CREATE TRIGGER refund_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wallet.refund
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
