-- Who did what, when, from where and why: a chain of entries that only grows.
--
-- An entry is written in the transaction of the act that it tells of. It names ids only: no number, no name, no address.
-- The runtime role may add and read, and the table refuses UPDATE, DELETE and TRUNCATE to everyone; whoever gets around
-- both breaks the chain of hashes, which `trangtien admin audit verify` shows.
-- Lock order: audit_head comes after revocation_head and before platform's outbox.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.audit_head (
    singleton boolean NOT NULL DEFAULT true,
    position  bigint  NOT NULL DEFAULT 0,
    hash      bytea   NOT NULL,
    CONSTRAINT audit_head_pkey PRIMARY KEY (singleton),
    CONSTRAINT audit_head_singleton CHECK (singleton),
    CONSTRAINT audit_head_position_positive CHECK (position >= 0),
    CONSTRAINT audit_head_hash_length CHECK (octet_length(hash) = 32)
);
COMMENT ON TABLE identity.audit_head IS 'The newest entry of the audit. Its row lock gives positions in the order of commits, without gaps.';
INSERT INTO identity.audit_head (singleton, position, hash) VALUES (true, 0, decode(repeat('00', 32), 'hex'));

CREATE TABLE identity.audit (
    position      bigint      NOT NULL,
    recorded_at   timestamptz NOT NULL,
    actor_kind    text        NOT NULL,
    actor         text        NOT NULL,
    action        text        NOT NULL,
    subject       uuid,
    object        text        NOT NULL,
    channel       text        NOT NULL,
    place         text        NOT NULL,
    session_id    uuid,
    device_id     uuid,
    reason        text        NOT NULL,
    trace_id      text,
    previous_hash bytea       NOT NULL,
    hash          bytea       NOT NULL,
    CONSTRAINT audit_pkey PRIMARY KEY (position),
    CONSTRAINT audit_position_positive CHECK (position > 0),
    CONSTRAINT audit_actor_kind_known CHECK (actor_kind IN ('citizen', 'operator', 'service')),
    CONSTRAINT audit_channel_known CHECK (channel IN ('app', 'command', 'schedule')),
    CONSTRAINT audit_text_length CHECK (
        char_length(actor) BETWEEN 1 AND 100 AND char_length(action) BETWEEN 1 AND 100
        AND char_length(object) <= 200 AND char_length(place) <= 200 AND char_length(reason) BETWEEN 1 AND 200
    ),
    CONSTRAINT audit_trace_id_length CHECK (char_length(trace_id) = 32),
    CONSTRAINT audit_hash_length CHECK (octet_length(previous_hash) = 32 AND octet_length(hash) = 32)
);
COMMENT ON TABLE identity.audit IS 'Who did what, when, from where and why. Append-only, chained by hash.';
COMMENT ON COLUMN identity.audit.actor IS 'A citizen''s id, an operator''s login name, or the name of the process.';
COMMENT ON COLUMN identity.audit.subject IS 'The citizen whom it concerns.';
COMMENT ON COLUMN identity.audit.object IS 'What it was done to: the id of a session, device or key, names of fields, a kind of dead letter.';
COMMENT ON COLUMN identity.audit.place IS 'From where: a keyed digest of the network address, the operator''s machine, or the process.';
COMMENT ON COLUMN identity.audit.hash IS 'SHA-256 over previous_hash and every other column (src/audit/chain.rs).';
CREATE INDEX audit_subject ON identity.audit (subject, position) WHERE subject IS NOT NULL;
CREATE INDEX audit_actor ON identity.audit (actor, position);
CREATE INDEX audit_recorded_at ON identity.audit (recorded_at);

CREATE FUNCTION identity.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history in %.% is never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'identity_history_immutable';
END $$;
COMMENT ON FUNCTION identity.refuse_change() IS 'Refuses every change of a table that is history.';

CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE ON identity.audit FOR EACH ROW EXECUTE FUNCTION identity.refuse_change();
CREATE TRIGGER audit_kept BEFORE TRUNCATE ON identity.audit FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_change();
CREATE TRIGGER audit_head_stays BEFORE DELETE ON identity.audit_head FOR EACH ROW EXECUTE FUNCTION identity.refuse_change();
CREATE TRIGGER audit_head_kept BEFORE TRUNCATE ON identity.audit_head FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_change();

GRANT SELECT, INSERT ON identity.audit TO trangtien_identity;
GRANT SELECT, UPDATE ON identity.audit_head TO trangtien_identity;
