-- Who holds which role, given by whom, and how its end reaches tokens that are out.
--
-- A grant is a row for ever: its end is written into it once, and nothing else of it ever changes.
-- Lock order: both citizens of a change (who makes it, whom it concerns) by id, then revocation_head, then audit_head.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.role_grant (
    id         uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    role       text        NOT NULL,
    agency     text,
    ward       text,
    name       text        NOT NULL GENERATED ALWAYS AS (role || COALESCE(':' || agency, '') || COALESCE(':' || ward, '')) STORED,
    granted_at timestamptz NOT NULL,
    granted_by uuid,
    revoked_at timestamptz,
    revoked_by uuid,
    CONSTRAINT role_grant_pkey PRIMARY KEY (id),
    CONSTRAINT role_grant_user_fkey FOREIGN KEY (user_id) REFERENCES identity.citizen (id),
    CONSTRAINT role_grant_role_known CHECK (role IN (
        'ioc.operator', 'ioc.lead', 'agency.officer', 'agency.head', 'finance.officer', 'finance.approver', 'admin'
    )),
    CONSTRAINT role_grant_agency_where_needed CHECK ((agency IS NOT NULL) = (role IN ('agency.officer', 'agency.head'))),
    CONSTRAINT role_grant_ward_of_agency CHECK (ward IS NULL OR agency IS NOT NULL),
    CONSTRAINT role_grant_agency_form CHECK (agency ~ '^[A-Z0-9-]{1,24}$'),
    CONSTRAINT role_grant_ward_form CHECK (ward ~ '^[A-Z0-9-]{1,12}$'),
    CONSTRAINT role_grant_revoked_after CHECK (revoked_at >= granted_at),
    CONSTRAINT role_grant_revoker_of_revoked CHECK (revoked_by IS NULL OR revoked_at IS NOT NULL)
);
COMMENT ON TABLE identity.role_grant IS 'Roles of officers: who holds which, where, given and taken by whom and when. History is kept.';
COMMENT ON COLUMN identity.role_grant.name IS 'The role as tokens say it: role, then agency, then ward (src/officer/role.rs).';
COMMENT ON COLUMN identity.role_grant.agency IS 'Code of the agency in which the role counts.';
COMMENT ON COLUMN identity.role_grant.ward IS 'Code of the one ward in which it counts; everywhere in the agency without one.';
COMMENT ON COLUMN identity.role_grant.granted_by IS 'The officer who gave it; nobody when it was an operator on the machine, whom the audit names.';
COMMENT ON COLUMN identity.role_grant.revoked_by IS 'The same of who took it.';
CREATE UNIQUE INDEX role_grant_held_once ON identity.role_grant (user_id, name) WHERE revoked_at IS NULL;
CREATE INDEX role_grant_user ON identity.role_grant (user_id, id);
CREATE INDEX role_grant_agency ON identity.role_grant (agency, id) WHERE agency IS NOT NULL;

CREATE FUNCTION identity.end_grant_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_at IS NOT NULL
        OR (NEW.id, NEW.user_id, NEW.role, NEW.agency, NEW.ward, NEW.granted_at, NEW.granted_by)
            IS DISTINCT FROM (OLD.id, OLD.user_id, OLD.role, OLD.agency, OLD.ward, OLD.granted_at, OLD.granted_by)
    THEN
        RAISE EXCEPTION 'a grant changes only once, when it ends'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'identity_history_immutable';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION identity.end_grant_once() IS 'Lets a grant end once and refuses every other change of it.';
CREATE TRIGGER role_grant_ends_once BEFORE UPDATE ON identity.role_grant FOR EACH ROW EXECUTE FUNCTION identity.end_grant_once();
CREATE TRIGGER role_grant_immutable BEFORE DELETE ON identity.role_grant FOR EACH ROW EXECUTE FUNCTION identity.refuse_change();
CREATE TRIGGER role_grant_kept BEFORE TRUNCATE ON identity.role_grant FOR EACH STATEMENT EXECUTE FUNCTION identity.refuse_change();

CREATE TABLE identity.role_revocation (
    position   bigint      NOT NULL,
    user_id    uuid        NOT NULL,
    role_epoch integer     NOT NULL,
    revoked_at timestamptz NOT NULL,
    forget_at  timestamptz NOT NULL,
    CONSTRAINT role_revocation_pkey PRIMARY KEY (position),
    CONSTRAINT role_revocation_epoch_positive CHECK (role_epoch > 0),
    CONSTRAINT role_revocation_forget_after CHECK (forget_at > revoked_at)
);
COMMENT ON TABLE identity.role_revocation IS 'People whose older access tokens must be refused, for a role was taken from them. Positions are those of revocation_head, as for sessions.';
COMMENT ON COLUMN identity.role_revocation.role_epoch IS 'How many roles had been taken from the person then: tokens with a lower number are refused.';
CREATE INDEX role_revocation_forget_at ON identity.role_revocation (forget_at);

COMMENT ON TABLE identity.revocation_head IS 'The newest position of identity.revocation and identity.role_revocation. Its row lock gives positions in the order of commits, without gaps.';

GRANT SELECT, INSERT ON identity.role_grant TO trangtien_identity;
GRANT UPDATE (revoked_at, revoked_by) ON identity.role_grant TO trangtien_identity;
GRANT SELECT, INSERT, DELETE ON identity.role_revocation TO trangtien_identity;
