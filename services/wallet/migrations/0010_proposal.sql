-- Acts of officers that move money: proposed by one, approved by another.
--
-- The row of a proposal is what binds them: its content never changes, it is decided once, and the database itself refuses one
-- person as both. What was approved is done by a job, which may come late and more than once.

SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet.proposal (
    id          uuid        NOT NULL,
    kind        text        NOT NULL,
    subject     uuid        NOT NULL,
    content     text        NOT NULL,
    digest      bytea       NOT NULL,
    state       text        NOT NULL,
    proposed_by uuid        NOT NULL,
    proposed_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    decided_by  uuid,
    decided_at  timestamptz,
    result      text,
    finished_at timestamptz,
    CONSTRAINT proposal_pk PRIMARY KEY (id),
    CONSTRAINT proposal_kind_known CHECK (kind IN ('bill-payment', 'top-up')),
    CONSTRAINT proposal_state_known CHECK (state IN ('open', 'approved', 'refused', 'expired', 'done')),
    CONSTRAINT proposal_digest_length CHECK (octet_length(digest) = 32),
    CONSTRAINT proposal_expiry_after CHECK (expires_at > proposed_at),
    CONSTRAINT proposal_decided_by_somebody CHECK ((state IN ('approved', 'refused', 'done')) = (decided_by IS NOT NULL)),
    CONSTRAINT proposal_decided_at_a_time CHECK ((decided_by IS NULL) = (decided_at IS NULL)),
    CONSTRAINT proposal_approved_by_another CHECK (state NOT IN ('approved', 'done') OR decided_by <> proposed_by),
    CONSTRAINT proposal_approved_in_time CHECK (state NOT IN ('approved', 'done') OR decided_at < expires_at),
    CONSTRAINT proposal_done_with_result CHECK ((state = 'done') = (result IS NOT NULL AND finished_at IS NOT NULL))
);
COMMENT ON TABLE wallet.proposal IS 'What one finance officer proposes to do with money, and who decided on it. Content never changes; a decision is made once.';
COMMENT ON COLUMN wallet.proposal.subject IS 'The payment or top-up that it is about.';
COMMENT ON COLUMN wallet.proposal.content IS 'The proposal as JSON, with its own id; the digest is SHA-256 of exactly these bytes in UTF-8.';
COMMENT ON COLUMN wallet.proposal.result IS 'Where the payment or top-up stood once it was done.';
CREATE UNIQUE INDEX proposal_one_open ON wallet.proposal (subject) WHERE state IN ('open', 'approved');
CREATE INDEX proposal_state ON wallet.proposal (state, id);

CREATE FUNCTION wallet.decide_proposal_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.kind, NEW.subject, NEW.content, NEW.digest, NEW.proposed_by, NEW.proposed_at, NEW.expires_at)
            IS DISTINCT FROM (OLD.id, OLD.kind, OLD.subject, OLD.content, OLD.digest, OLD.proposed_by, OLD.proposed_at, OLD.expires_at)
        OR (OLD.state <> 'open'
            AND (OLD.state <> 'approved' OR NEW.state <> 'done' OR (NEW.decided_by, NEW.decided_at) IS DISTINCT FROM (OLD.decided_by, OLD.decided_at)))
    THEN
        RAISE EXCEPTION 'a proposal is decided once and never changed'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'proposal_immutable';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION wallet.decide_proposal_once() IS 'Lets a proposal be decided once and then be done, and refuses every other change of it.';
CREATE TRIGGER proposal_decided_once BEFORE UPDATE ON wallet.proposal FOR EACH ROW EXECUTE FUNCTION wallet.decide_proposal_once();

GRANT SELECT, INSERT ON wallet.proposal TO trangtien_wallet;
GRANT UPDATE (state, decided_by, decided_at, result, finished_at) ON wallet.proposal TO trangtien_wallet;
