-- Sign-ins by VNeID: visits that no session began.
--
-- Lock order: a visit is taken in a statement of its own, before anything else is locked.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.vneid_sign_in (
    digest     bytea       NOT NULL,
    device_id  uuid        NOT NULL,
    challenge  bytea,
    secret     bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT vneid_sign_in_pkey PRIMARY KEY (digest),
    CONSTRAINT vneid_sign_in_digest_length CHECK (octet_length(digest) = 32),
    CONSTRAINT vneid_sign_in_challenge_length CHECK (octet_length(challenge) = 32)
);
COMMENT ON TABLE identity.vneid_sign_in IS 'Visits to VNeID by which somebody signs in: for one device, alive for minutes, deleted by the return.';
COMMENT ON COLUMN identity.vneid_sign_in.digest IS 'SHA-256 of the state that comes back.';
COMMENT ON COLUMN identity.vneid_sign_in.device_id IS 'What the session will run on: an app''s device, or the one that a browser''s cookie stands for.';
COMMENT ON COLUMN identity.vneid_sign_in.challenge IS 'SHA-256 of the verifier that the app comes back with; none where a browser''s cookie says who comes back.';
COMMENT ON COLUMN identity.vneid_sign_in.secret IS 'Nonce, PKCE verifier and how a page goes on, sealed by the configuration''s key.';
CREATE INDEX vneid_sign_in_expires_at ON identity.vneid_sign_in (expires_at);

GRANT SELECT, INSERT, DELETE ON identity.vneid_sign_in TO trangtien_identity;
