-- Who has proved their citizen identity number, and how: by the outside verifier (eKYC) or by VNeID.
--
-- Lock order: citizen, then ekyc and vneid_attempt, then citizen_number and vneid_link, then audit_head, then platform's outbox.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.citizen_number (
    citizen_id uuid        NOT NULL,
    digest     bytea       NOT NULL,
    number     bytea       NOT NULL,
    full_name  bytea       NOT NULL,
    source     text        NOT NULL,
    proved_at  timestamptz NOT NULL,
    CONSTRAINT citizen_number_pkey PRIMARY KEY (citizen_id),
    CONSTRAINT citizen_number_digest_key UNIQUE (digest),
    CONSTRAINT citizen_number_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT citizen_number_digest_length CHECK (octet_length(digest) = 32),
    CONSTRAINT citizen_number_source_known CHECK (source IN ('ekyc', 'vneid'))
);
COMMENT ON TABLE identity.citizen_number IS 'Citizen identity numbers that were proved: one number, one account; one account, one number.';
COMMENT ON COLUMN identity.citizen_number.digest IS 'HMAC-SHA256 of the number under the look-up key: one number has one account.';
COMMENT ON COLUMN identity.citizen_number.number IS 'The number, sealed under the citizen''s data_key.';
COMMENT ON COLUMN identity.citizen_number.full_name IS 'The name that belongs to it, sealed under the citizen''s data_key.';

CREATE TABLE identity.ekyc (
    id         uuid        NOT NULL,
    citizen_id uuid        NOT NULL,
    state      text        NOT NULL,
    claim      bytea,
    reason     text,
    asked_at   timestamptz NOT NULL,
    decided_at timestamptz,
    CONSTRAINT ekyc_pkey PRIMARY KEY (id),
    CONSTRAINT ekyc_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT ekyc_state_known CHECK (state IN ('pending', 'verified', 'refused')),
    CONSTRAINT ekyc_pending_has_claim CHECK ((state = 'pending') = (claim IS NOT NULL)),
    CONSTRAINT ekyc_refused_has_reason CHECK ((state = 'refused') = (reason IS NOT NULL)),
    CONSTRAINT ekyc_decided_has_time CHECK ((state = 'pending') = (decided_at IS NULL))
);
COMMENT ON TABLE identity.ekyc IS 'What citizens asked the outside verifier, and what it said.';
COMMENT ON COLUMN identity.ekyc.claim IS 'Number, name and day of birth as the citizen wrote them, sealed under their data_key; wiped when it is decided.';
CREATE UNIQUE INDEX ekyc_one_pending ON identity.ekyc (citizen_id) WHERE state = 'pending';
CREATE INDEX ekyc_citizen ON identity.ekyc (citizen_id, asked_at);

CREATE TABLE identity.vneid_link (
    citizen_id uuid        NOT NULL,
    digest     bytea       NOT NULL,
    linked_at  timestamptz NOT NULL,
    CONSTRAINT vneid_link_pkey PRIMARY KEY (citizen_id),
    CONSTRAINT vneid_link_digest_key UNIQUE (digest),
    CONSTRAINT vneid_link_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT vneid_link_digest_length CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE identity.vneid_link IS 'Accounts at VNeID and ours: one to one.';
COMMENT ON COLUMN identity.vneid_link.digest IS 'HMAC-SHA256 of issuer and subject of the account at VNeID.';

CREATE TABLE identity.vneid_attempt (
    digest     bytea       NOT NULL,
    citizen_id uuid        NOT NULL,
    session_id uuid        NOT NULL,
    secret     bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT vneid_attempt_pkey PRIMARY KEY (digest),
    CONSTRAINT vneid_attempt_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT vneid_attempt_digest_length CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE identity.vneid_attempt IS 'Visits to VNeID that are under way: for one session, alive for minutes, deleted by the return.';
COMMENT ON COLUMN identity.vneid_attempt.digest IS 'SHA-256 of the state that comes back.';
COMMENT ON COLUMN identity.vneid_attempt.secret IS 'Nonce and PKCE verifier, sealed by the configuration''s key.';
CREATE INDEX vneid_attempt_expires_at ON identity.vneid_attempt (expires_at);
CREATE INDEX vneid_attempt_citizen ON identity.vneid_attempt (citizen_id);

GRANT SELECT, INSERT, DELETE ON identity.citizen_number, identity.vneid_link, identity.vneid_attempt TO trangtien_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.ekyc TO trangtien_identity;
