-- Sessions of the wall's viewers.
--
-- What a session holds is sealed with a key that the browser's cookie alone gives: whoever reads this table gets into nothing,
-- and it names nobody.

SET LOCAL lock_timeout = '5s';

CREATE TABLE ioc.session (
    digest           bytea       NOT NULL,
    sealed           bytea       NOT NULL,
    generation       integer     NOT NULL DEFAULT 0,
    refreshing_until timestamptz,
    expires_at       timestamptz NOT NULL,
    CONSTRAINT session_pk PRIMARY KEY (digest),
    CONSTRAINT session_digest_ck CHECK (octet_length(digest) = 32),
    CONSTRAINT session_sealed_ck CHECK (octet_length(sealed) <= 16384)
) WITH (fillfactor = 70);
COMMENT ON TABLE ioc.session IS 'Who looks at the wall, by a digest of their cookie. The tokens are sealed with a key that only the cookie gives; one process at a time renews them (refreshing_until), and only those of the generation that it read.';
CREATE INDEX session_expires_at_idx ON ioc.session (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON ioc.session TO trangtien_ioc;
