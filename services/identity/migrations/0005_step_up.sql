-- Passkeys of citizens, and the challenges that wait for one: what a citizen proves with beside PIN and device.
--
-- Proofs themselves are signed tokens and stand nowhere here; whoever relies on one remembers it.
-- Lock order: citizen, then passkey, then passkey_challenge, then audit_head.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.passkey (
    id            uuid        NOT NULL,
    citizen_id    uuid        NOT NULL,
    credential_id bytea       NOT NULL,
    credential    jsonb       NOT NULL,
    name          text        NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz,
    CONSTRAINT passkey_pkey PRIMARY KEY (id),
    CONSTRAINT passkey_credential_key UNIQUE (credential_id),
    CONSTRAINT passkey_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT passkey_credential_id_length CHECK (octet_length(credential_id) BETWEEN 1 AND 1023),
    CONSTRAINT passkey_name_length CHECK (char_length(name) BETWEEN 1 AND 64)
);
COMMENT ON TABLE identity.passkey IS 'Passkeys (WebAuthn credentials) of citizens. No secret: the private key never leaves its authenticator.';
COMMENT ON COLUMN identity.passkey.credential_id IS 'The authenticator''s own id of the credential.';
COMMENT ON COLUMN identity.passkey.credential IS 'Public key, signature counter and backup state, as the WebAuthn library writes them.';
CREATE INDEX passkey_citizen ON identity.passkey (citizen_id, id);

CREATE TABLE identity.passkey_challenge (
    id         uuid        NOT NULL,
    citizen_id uuid        NOT NULL,
    session_id uuid        NOT NULL,
    digest     bytea,
    state      jsonb       NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT passkey_challenge_pkey PRIMARY KEY (id),
    CONSTRAINT passkey_challenge_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT passkey_challenge_digest_length CHECK (octet_length(digest) = 32)
);
COMMENT ON TABLE identity.passkey_challenge IS 'What a passkey is asked to sign: random, for one session, alive for minutes, deleted by the answer.';
COMMENT ON COLUMN identity.passkey_challenge.digest IS 'Digest of the one transaction that the answer proves (src/step_up/transaction.rs); null for the registration of a passkey.';
CREATE INDEX passkey_challenge_citizen ON identity.passkey_challenge (citizen_id, expires_at);
CREATE INDEX passkey_challenge_expires_at ON identity.passkey_challenge (expires_at);

GRANT SELECT, INSERT, DELETE ON identity.passkey, identity.passkey_challenge TO trangtien_identity;
GRANT UPDATE (credential, last_used_at) ON identity.passkey TO trangtien_identity;
