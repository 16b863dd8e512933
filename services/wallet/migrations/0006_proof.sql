-- Proofs that citizens gave for transactions above the thresholds: each serves once.
SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet.proof (
    id        uuid        NOT NULL,
    user_id   uuid        NOT NULL,
    kind      text        NOT NULL,
    level     text        NOT NULL,
    reference uuid        NOT NULL,
    used_at   timestamptz NOT NULL,
    CONSTRAINT proof_pk PRIMARY KEY (id),
    CONSTRAINT proof_kind_ck CHECK (length(kind) BETWEEN 1 AND 32),
    CONSTRAINT proof_level_ck CHECK (level IN ('pin', 'biometric', 'signature'))
);
CREATE INDEX proof_user_ix ON wallet.proof (user_id, used_at);
COMMENT ON TABLE wallet.proof IS 'Proofs of citizens that moved money: which, how strong, for what. Written in the batch that posts or holds the money (a top-up: with its intent) and never changed. The proof itself was a signed token of identity and is kept nowhere.';
COMMENT ON COLUMN wallet.proof.reference IS 'The payment, the payment of a bill, or the top-up that it was for.';
GRANT SELECT, INSERT ON wallet.proof TO trangtien_wallet;
CREATE TRIGGER proof_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wallet.proof
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

ALTER TABLE wallet.bill_payment
    ADD COLUMN proof_id uuid,
    ADD COLUMN proof_level text,
    ADD CONSTRAINT bill_payment_proof_ck CHECK ((proof_id IS NULL) = (proof_level IS NULL)),
    ADD CONSTRAINT bill_payment_proof_level_ck CHECK (proof_level IN ('pin', 'biometric', 'signature'));
COMMENT ON COLUMN wallet.bill_payment.proof_id IS 'The proof that came with it, checked before it was saved: whoever goes on after a crash relies on it.';
GRANT UPDATE (proof_id, proof_level, session_id) ON wallet.bill_payment TO trangtien_wallet;
