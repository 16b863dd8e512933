-- One answer per (caller, operation, key): claimed in the transaction of the work, so that a crash leaves neither work nor claim.
CREATE TABLE {schema}.idempotency_key (
    caller      uuid        NOT NULL,
    operation   text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,
    status      smallint,
    body        jsonb,
    claimed_at  timestamptz NOT NULL,
    CONSTRAINT idempotency_key_pk PRIMARY KEY (caller, operation, key),
    CONSTRAINT idempotency_key_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT idempotency_key_answer_is_whole CHECK ((status IS NULL) = (body IS NULL))
);
COMMENT ON TABLE {schema}.idempotency_key IS 'The answers given to requests that carried an Idempotency-Key.';
CREATE INDEX idempotency_key_claimed_at_idx ON {schema}.idempotency_key (claimed_at);
GRANT USAGE ON SCHEMA {schema} TO trangtien_{schema};
GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.idempotency_key TO trangtien_{schema};
