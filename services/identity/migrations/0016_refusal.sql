-- How often a code, a PIN or a proof was refused: the first of a kind stands in the audit at once, the rest is counted here.
--
-- Lock order: refusal comes before audit_head, and holds no other lock.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.refusal (
    key      bytea       NOT NULL,
    began_at timestamptz NOT NULL,
    position bigint      NOT NULL DEFAULT 0,
    count    bigint      NOT NULL DEFAULT 1,
    CONSTRAINT refusal_pkey PRIMARY KEY (key),
    CONSTRAINT refusal_key_length CHECK (octet_length(key) = 32),
    CONSTRAINT refusal_position_not_negative CHECK (position >= 0),
    CONSTRAINT refusal_count_positive CHECK (count > 0)
);
COMMENT ON TABLE identity.refusal IS 'Refusals of a kind within an hour: counted, then told by one record of the audit and forgotten.';
COMMENT ON COLUMN identity.refusal.key IS 'HMAC-SHA256 of what was refused, whose it is and why.';
COMMENT ON COLUMN identity.refusal.position IS 'The record of the first in identity.audit.';
CREATE INDEX refusal_began_at ON identity.refusal (began_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.refusal TO trangtien_identity;
