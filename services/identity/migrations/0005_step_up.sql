-- Passkeys of citizens, the challenges that wait for one, and since when keys of devices are there: what a citizen proves with
-- beside the PIN.
--
-- Proofs themselves are signed tokens and stand nowhere here; whoever relies on one remembers it.
-- Lock order: citizen, then device, then passkey, then passkey_challenge, then audit_head.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.passkey (
    id            uuid        NOT NULL,
    citizen_id    uuid        NOT NULL,
    credential_id bytea       NOT NULL,
    credential    jsonb       NOT NULL,
    name          text        NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz,
    cooling_until timestamptz,
    CONSTRAINT passkey_pkey PRIMARY KEY (id),
    CONSTRAINT passkey_credential_key UNIQUE (credential_id),
    CONSTRAINT passkey_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT passkey_credential_id_length CHECK (octet_length(credential_id) BETWEEN 1 AND 1023),
    CONSTRAINT passkey_name_length CHECK (char_length(name) BETWEEN 1 AND 64)
);
COMMENT ON TABLE identity.passkey IS 'Passkeys (WebAuthn credentials) of citizens. No secret: the private key never leaves its authenticator.';
COMMENT ON COLUMN identity.passkey.credential_id IS 'The authenticator''s own id of the credential.';
COMMENT ON COLUMN identity.passkey.credential IS 'Public key, signature counter and backup state, as the WebAuthn library writes them.';
COMMENT ON COLUMN identity.passkey.cooling_until IS 'Until when it proves nothing, for it was registered without the PIN.';
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

ALTER TABLE identity.device ADD COLUMN key_bound_at timestamptz;
ALTER TABLE identity.device ADD COLUMN key_confirmed_at timestamptz;
COMMENT ON COLUMN identity.device.key_bound_at IS 'Since when it has the key that it has; null where no key came since this column is there: then it counts as new at the last sign-in.';
COMMENT ON COLUMN identity.device.key_confirmed_at IS 'When the citizen typed the PIN in a session of the device that has this key: from then on the key proves transactions.';

GRANT SELECT, INSERT, DELETE ON identity.passkey, identity.passkey_challenge TO trangtien_identity;
GRANT UPDATE (credential, last_used_at) ON identity.passkey TO trangtien_identity;
