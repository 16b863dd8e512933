-- Terms of office: a role may count from a time on and until another.
--
-- Tokens expire with the first role that they say; nothing has to happen at that moment.

SET LOCAL lock_timeout = '5s';

ALTER TABLE identity.role_grant
    ADD COLUMN valid_from  timestamptz,
    ADD COLUMN valid_until timestamptz,
    ADD CONSTRAINT role_grant_term_runs CHECK (valid_until > valid_from);
COMMENT ON COLUMN identity.role_grant.valid_from IS 'Since when it counts; from the moment on that it was given without one.';
COMMENT ON COLUMN identity.role_grant.valid_until IS 'Until when it counts; until it is taken without one. Who gives the role again after that writes this time into revoked_at.';
COMMENT ON COLUMN identity.role_grant.agency IS 'Code of the agency in which the role counts, and in all below it (agencies.csv of the city).';

CREATE FUNCTION identity.counts_at(valid_from timestamptz, valid_until timestamptz, at timestamptz) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (valid_from IS NULL OR valid_from <= at) AND (valid_until IS NULL OR valid_until > at);
COMMENT ON FUNCTION identity.counts_at(timestamptz, timestamptz, timestamptz) IS 'Whether a time lies in a term.';

CREATE OR REPLACE FUNCTION identity.end_grant_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_at IS NOT NULL
        OR (NEW.id, NEW.user_id, NEW.role, NEW.agency, NEW.ward, NEW.granted_at, NEW.granted_by, NEW.valid_from, NEW.valid_until)
            IS DISTINCT FROM
            (OLD.id, OLD.user_id, OLD.role, OLD.agency, OLD.ward, OLD.granted_at, OLD.granted_by, OLD.valid_from, OLD.valid_until)
    THEN
        RAISE EXCEPTION 'a grant changes only once, when it ends'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'identity_history_immutable';
    END IF;
    RETURN NEW;
END $$;
