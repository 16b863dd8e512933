-- The OpenID provider: clients, authorisation codes, what citizens let clients know, and sessions that browsers and clients hold.
--
-- A browser's sign-in and what a client was granted are sessions like an app's: one row, ended and revoked in the same way.
-- Nothing here lets anybody in: of secrets and codes, which are random and long, only SHA-256 digests are kept.
-- Lock order: client, consent, authorisation, then citizen, device, session, revocation_head, audit_head.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.client (
    id                        uuid        NOT NULL,
    name_vi                   text        NOT NULL,
    name_en                   text        NOT NULL,
    access                    text        NOT NULL,
    secret_digest             bytea,
    grants                    text[]      NOT NULL,
    scopes                    text[]      NOT NULL,
    redirect_uris             text[]      NOT NULL,
    post_logout_redirect_uris text[]      NOT NULL,
    sector                    text,
    id_token_algorithm        text        NOT NULL,
    agency                    text,
    epoch                     integer     NOT NULL DEFAULT 0,
    version                   bigint      NOT NULL DEFAULT 1,
    created_at                timestamptz NOT NULL,
    created_by                uuid,
    disabled_at               timestamptz,
    CONSTRAINT client_pkey PRIMARY KEY (id),
    CONSTRAINT client_name_length CHECK (char_length(name_vi) BETWEEN 1 AND 80 AND char_length(name_en) BETWEEN 1 AND 80),
    CONSTRAINT client_access_known CHECK (access IN ('confidential', 'public')),
    CONSTRAINT client_secret_of_confidential CHECK ((secret_digest IS NOT NULL) = (access = 'confidential')),
    CONSTRAINT client_secret_length CHECK (octet_length(secret_digest) = 32),
    CONSTRAINT client_grants_known CHECK (grants <@ ARRAY['authorization_code', 'refresh_token', 'client_credentials'] AND cardinality(grants) > 0),
    CONSTRAINT client_lists_bounded CHECK (
        cardinality(redirect_uris) <= 10 AND cardinality(post_logout_redirect_uris) <= 10 AND cardinality(scopes) <= 20
    ),
    CONSTRAINT client_algorithm_known CHECK (id_token_algorithm IN ('RS256', 'EdDSA')),
    CONSTRAINT client_agency_form CHECK (agency ~ '^[A-Z0-9-]{1,24}$'),
    CONSTRAINT client_epoch_positive CHECK (epoch >= 0),
    CONSTRAINT client_version_positive CHECK (version > 0)
);
COMMENT ON TABLE identity.client IS 'Programs that may ask for tokens: mini-apps, web pages, partners, agencies.';
COMMENT ON COLUMN identity.client.secret_digest IS 'SHA-256 of the secret, which is 256 random bits and was shown once.';
COMMENT ON COLUMN identity.client.sector IS 'Within which a citizen has one subject (pairwise identifiers). Null for the city''s own pages, which see the citizen''s id and ask for no consent.';
COMMENT ON COLUMN identity.client.agency IS 'Code of the agency that it acts for.';
COMMENT ON COLUMN identity.client.epoch IS 'How often its own tokens were cut off; those with a lower number are refused.';
COMMENT ON COLUMN identity.client.version IS 'Rises with every edit; the ETag of the client.';

CREATE TABLE identity.consent (
    citizen_id uuid        NOT NULL,
    client_id  uuid        NOT NULL,
    scopes     text[]      NOT NULL,
    given_at   timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT consent_pkey PRIMARY KEY (citizen_id, client_id),
    CONSTRAINT consent_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT consent_client_fkey FOREIGN KEY (client_id) REFERENCES identity.client (id),
    CONSTRAINT consent_scopes_bounded CHECK (cardinality(scopes) BETWEEN 1 AND 20)
);
COMMENT ON TABLE identity.consent IS 'What a citizen lets a client know and do. Taken back by removing the row; the audit keeps both acts.';
CREATE INDEX consent_client ON identity.consent (client_id);

CREATE TABLE identity.authorisation (
    code_digest      bytea       NOT NULL,
    client_id        uuid        NOT NULL,
    citizen_id       uuid        NOT NULL,
    device_id        uuid        NOT NULL,
    browser_session  uuid        NOT NULL,
    redirect_uri     text        NOT NULL,
    scope            text        NOT NULL,
    nonce            text,
    challenge        bytea       NOT NULL,
    acr              text        NOT NULL,
    amr              text[]      NOT NULL,
    authenticated_at timestamptz NOT NULL,
    ends_at          timestamptz NOT NULL,
    expires_at       timestamptz NOT NULL,
    redeemed_at      timestamptz,
    session_id       uuid,
    CONSTRAINT authorisation_pkey PRIMARY KEY (code_digest),
    CONSTRAINT authorisation_client_fkey FOREIGN KEY (client_id) REFERENCES identity.client (id),
    CONSTRAINT authorisation_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT authorisation_digest_length CHECK (octet_length(code_digest) = 32 AND octet_length(challenge) = 32),
    CONSTRAINT authorisation_session_of_redeemed CHECK (session_id IS NULL OR redeemed_at IS NOT NULL)
);
COMMENT ON TABLE identity.authorisation IS 'One-time authorisation codes (RFC 6749, section 4.1.2). Kept for a day after their minute, so that a replay is known as one.';
COMMENT ON COLUMN identity.authorisation.code_digest IS 'SHA-256 of the code, which is 256 random bits.';
COMMENT ON COLUMN identity.authorisation.challenge IS 'The code challenge: SHA-256 of the verifier (RFC 7636, S256).';
COMMENT ON COLUMN identity.authorisation.ends_at IS 'When the session that the code gives ends, however it is used.';
COMMENT ON COLUMN identity.authorisation.session_id IS 'The session that the code gave; a replay of the code ends it.';
CREATE INDEX authorisation_expires_at ON identity.authorisation (expires_at);

ALTER TABLE identity.session ADD COLUMN sector text;
COMMENT ON COLUMN identity.session.sector IS 'Within which its tokens name the citizen by a subject of their own; null where they say the citizen''s id.';
COMMENT ON COLUMN identity.session.client IS 'app: a first-party app. browser: a sign-in at the hosted page, whose token is a cookie. Else the id of the client that it was granted to.';
ALTER TABLE identity.session DROP CONSTRAINT session_end_reason_known;
ALTER TABLE identity.session ADD CONSTRAINT session_end_reason_known CHECK (end_reason IN (
    'signed-out', 'device-removed', 'replaced', 'replayed', 'code-replayed', 'token-revoked', 'consent-withdrawn',
    'client-disabled'
));
CREATE UNIQUE INDEX session_one_per_browser ON identity.session (citizen_id, device_id) WHERE ended_at IS NULL AND client = 'browser';

CREATE INDEX session_client ON identity.session (client, id) WHERE ended_at IS NULL AND client NOT IN ('app', 'browser');
CREATE INDEX authorisation_citizen ON identity.authorisation (citizen_id, device_id) WHERE redeemed_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON identity.client TO trangtien_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.consent, identity.authorisation TO trangtien_identity;
