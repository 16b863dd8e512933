-- Who a citizen is: numbers, sign-in challenges, devices, sessions, PINs and the keys that sign tokens.
--
-- Nothing here can be read as a person without the keys of the configuration: phone numbers and names are
-- encrypted, look-ups go by keyed digests, codes and PINs are kept as keyed hashes.
-- Lock order: challenge, citizen, device, session, pin, revocation_head, then platform's outbox.

SET LOCAL lock_timeout = '5s';

GRANT USAGE ON SCHEMA identity TO trangtien_identity;

CREATE TABLE identity.citizen (
    id               uuid        NOT NULL,
    phone_digest     bytea       NOT NULL,
    data_key         bytea       NOT NULL,
    phone            bytea       NOT NULL,
    display_name     bytea,
    language         text        NOT NULL,
    tier             smallint    NOT NULL DEFAULT 0,
    version          bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT citizen_pkey PRIMARY KEY (id),
    CONSTRAINT citizen_phone_key UNIQUE (phone_digest),
    CONSTRAINT citizen_phone_digest_length CHECK (octet_length(phone_digest) = 32),
    CONSTRAINT citizen_language_known CHECK (language IN ('vi', 'en')),
    CONSTRAINT citizen_tier_known CHECK (tier BETWEEN 0 AND 2),
    CONSTRAINT citizen_version_positive CHECK (version > 0)
);
COMMENT ON TABLE identity.citizen IS 'A person who has proved a phone number. One row per number.';
COMMENT ON COLUMN identity.citizen.phone_digest IS 'HMAC-SHA256 of the E.164 number under the phone key: for look-up.';
COMMENT ON COLUMN identity.citizen.data_key IS 'This person''s own AES-256 key, sealed by the configuration''s key. Destroying it erases phone and display_name.';
COMMENT ON COLUMN identity.citizen.phone IS 'The E.164 number, sealed under data_key.';
COMMENT ON COLUMN identity.citizen.display_name IS 'The name as the citizen wrote it, sealed under data_key.';
COMMENT ON COLUMN identity.citizen.version IS 'Rises with every edit; the ETag of the profile.';

CREATE TABLE identity.challenge (
    id            uuid        NOT NULL,
    purpose       text        NOT NULL,
    phone_digest  bytea       NOT NULL,
    phone         bytea,
    device_id     uuid        NOT NULL,
    language      text        NOT NULL,
    code_digest   bytea       NOT NULL,
    code          bytea,
    tries         smallint    NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    taken_at      timestamptz,
    consumed_at   timestamptz,
    CONSTRAINT challenge_pkey PRIMARY KEY (id),
    CONSTRAINT challenge_purpose_known CHECK (purpose IN ('sign-in', 'pin-reset')),
    CONSTRAINT challenge_language_known CHECK (language IN ('vi', 'en')),
    CONSTRAINT challenge_tries_bounded CHECK (tries BETWEEN 0 AND 5),
    CONSTRAINT challenge_digest_length CHECK (octet_length(phone_digest) = 32 AND octet_length(code_digest) = 32),
    CONSTRAINT challenge_expiry_after_creation CHECK (expires_at > created_at)
);
COMMENT ON TABLE identity.challenge IS 'A one-time code on its way: bound to a number, a device and a purpose, alive for minutes.';
COMMENT ON COLUMN identity.challenge.phone IS 'The E.164 number, sealed by the configuration''s key; wiped when the challenge was used and when it expired.';
COMMENT ON COLUMN identity.challenge.code_digest IS 'HMAC-SHA256 of challenge, purpose and code under the code key.';
COMMENT ON COLUMN identity.challenge.code IS 'The code itself, sealed, for whoever sends it; wiped soon after it was taken, when the challenge was used, and when it expired.';
COMMENT ON COLUMN identity.challenge.tries IS 'Wrong codes so far.';
CREATE INDEX challenge_expires_at ON identity.challenge (expires_at);
CREATE INDEX challenge_taken_at ON identity.challenge (taken_at) WHERE code IS NOT NULL;
CREATE INDEX challenge_unwiped ON identity.challenge (expires_at) WHERE phone IS NOT NULL;

CREATE TABLE identity.sending (
    phone_digest bytea       NOT NULL,
    device_id    uuid        NOT NULL,
    sent_at      timestamptz NOT NULL,
    CONSTRAINT sending_pkey PRIMARY KEY (phone_digest, device_id)
);
COMMENT ON TABLE identity.sending IS 'When a device last had a code sent to a number: the pause before the next holds even if Redis forgets everything.';
CREATE INDEX sending_sent_at ON identity.sending (sent_at);

CREATE TABLE identity.device (
    citizen_id   uuid        NOT NULL,
    id           uuid        NOT NULL,
    name         text        NOT NULL,
    public_key   bytea,
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    CONSTRAINT device_pkey PRIMARY KEY (citizen_id, id),
    CONSTRAINT device_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT device_name_length CHECK (char_length(name) BETWEEN 1 AND 64),
    CONSTRAINT device_public_key_length CHECK (octet_length(public_key) <= 256)
);
COMMENT ON TABLE identity.device IS 'A device that a citizen signed in on. The id is chosen by the app and says nothing outside its citizen.';
COMMENT ON COLUMN identity.device.public_key IS 'SubjectPublicKeyInfo (DER) of the key in the device''s secure store.';

CREATE TABLE identity.session (
    id              uuid        NOT NULL,
    citizen_id      uuid        NOT NULL,
    device_id       uuid        NOT NULL,
    client          text        NOT NULL,
    scope           text        NOT NULL,
    acr             text        NOT NULL,
    amr             text[]      NOT NULL,
    salt            bytea       NOT NULL,
    generation      integer     NOT NULL DEFAULT 0,
    authenticated_at timestamptz NOT NULL,
    rotated_at      timestamptz NOT NULL,
    idle_expires_at timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    end_reason      text,
    CONSTRAINT session_pkey PRIMARY KEY (id),
    CONSTRAINT session_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT session_salt_length CHECK (octet_length(salt) = 16),
    CONSTRAINT session_generation_positive CHECK (generation >= 0),
    CONSTRAINT session_idle_within_life CHECK (idle_expires_at <= expires_at),
    CONSTRAINT session_end_has_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    CONSTRAINT session_end_reason_known CHECK (end_reason IN ('signed-out', 'device-removed', 'replaced', 'replayed'))
);
COMMENT ON TABLE identity.session IS 'A family of refresh tokens: one row however often it rotates. The tokens themselves are nowhere stored.';
COMMENT ON COLUMN identity.session.salt IS 'Random part of every refresh token of the family.';
COMMENT ON COLUMN identity.session.generation IS 'Generation of the newest refresh token; an older one is a repeat (within the grace) or a replay.';
COMMENT ON COLUMN identity.session.idle_expires_at IS 'When the newest refresh token ends, if it is not used.';
COMMENT ON COLUMN identity.session.expires_at IS 'When the session ends, however it is used.';
CREATE UNIQUE INDEX session_one_per_device ON identity.session (citizen_id, device_id) WHERE ended_at IS NULL AND client = 'app';
CREATE INDEX session_citizen ON identity.session (citizen_id);
CREATE INDEX session_idle_expires_at ON identity.session (idle_expires_at);
CREATE INDEX session_ended_at ON identity.session (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE identity.revocation_head (
    singleton boolean NOT NULL DEFAULT true,
    position  bigint  NOT NULL DEFAULT 0,
    CONSTRAINT revocation_head_pkey PRIMARY KEY (singleton),
    CONSTRAINT revocation_head_singleton CHECK (singleton)
);
COMMENT ON TABLE identity.revocation_head IS 'The newest revocation position. Its row lock gives positions in the order of commits, without gaps.';
INSERT INTO identity.revocation_head (singleton, position) VALUES (true, 0);

CREATE TABLE identity.revocation (
    position   bigint      NOT NULL,
    session_id uuid        NOT NULL,
    revoked_at timestamptz NOT NULL,
    forget_at  timestamptz NOT NULL,
    CONSTRAINT revocation_pkey PRIMARY KEY (position),
    CONSTRAINT revocation_session_key UNIQUE (session_id),
    CONSTRAINT revocation_forget_after CHECK (forget_at > revoked_at)
);
COMMENT ON TABLE identity.revocation IS 'Sessions whose access tokens must be refused before they expire by themselves (forget_at).';
CREATE INDEX revocation_forget_at ON identity.revocation (forget_at);

CREATE TABLE identity.pin (
    citizen_id    uuid        NOT NULL,
    hash          text        NOT NULL,
    failures      integer     NOT NULL DEFAULT 0,
    retry_at      timestamptz,
    set_at        timestamptz NOT NULL,
    cooling_until timestamptz,
    CONSTRAINT pin_pkey PRIMARY KEY (citizen_id),
    CONSTRAINT pin_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT pin_hash_is_argon2id CHECK (hash LIKE '$argon2id$%'),
    CONSTRAINT pin_failures_positive CHECK (failures >= 0)
);
COMMENT ON TABLE identity.pin IS 'The payment PIN: argon2id over a peppered HMAC. The pepper is in the configuration only.';
COMMENT ON COLUMN identity.pin.failures IS 'Checks since the last right one; each is counted before it is made.';
COMMENT ON COLUMN identity.pin.retry_at IS 'No check before this time.';
COMMENT ON COLUMN identity.pin.cooling_until IS 'After a reset by one-time code: until then large payments ask for more than the PIN.';

CREATE TABLE identity.signing_key (
    kid          text        NOT NULL,
    algorithm    text        NOT NULL,
    public_key   bytea       NOT NULL,
    private_key  bytea,
    state        text        NOT NULL,
    created_at   timestamptz NOT NULL,
    activated_at timestamptz,
    retired_at   timestamptz,
    remove_at    timestamptz,
    CONSTRAINT signing_key_pkey PRIMARY KEY (kid),
    CONSTRAINT signing_key_algorithm_known CHECK (algorithm IN ('EdDSA')),
    CONSTRAINT signing_key_state_known CHECK (state IN ('next', 'active', 'retired')),
    CONSTRAINT signing_key_times_match_state CHECK (
        (state = 'next') = (activated_at IS NULL)
        AND (state = 'retired') = (retired_at IS NOT NULL)
        AND (state = 'retired') = (remove_at IS NOT NULL)
        AND (state = 'retired') = (private_key IS NULL)
    )
);
COMMENT ON TABLE identity.signing_key IS 'Keys that sign access tokens. Published while next, active, and retired until no token of theirs can be alive.';
COMMENT ON COLUMN identity.signing_key.public_key IS 'Raw public key.';
COMMENT ON COLUMN identity.signing_key.private_key IS 'PKCS #8, sealed by the configuration''s key; destroyed on retirement.';
CREATE UNIQUE INDEX signing_key_one_active ON identity.signing_key (algorithm) WHERE state = 'active';
CREATE UNIQUE INDEX signing_key_one_next ON identity.signing_key (algorithm) WHERE state = 'next';

GRANT SELECT, INSERT, UPDATE, DELETE ON
    identity.citizen, identity.challenge, identity.sending, identity.device, identity.session,
    identity.revocation, identity.pin, identity.signing_key
TO trangtien_identity;
GRANT SELECT, UPDATE ON identity.revocation_head TO trangtien_identity;
