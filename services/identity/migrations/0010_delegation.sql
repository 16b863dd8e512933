-- Who may act for whom: a guardian for a child or an elder, within limits and until a date.
--
-- A row is proposed by one and confirmed by the other; its limits never change. Either ends it at once.
-- Lock order: citizen who proposes, delegation, revocation_head, audit_head.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.delegation (
    id                  uuid        NOT NULL,
    proposed_by         uuid        NOT NULL,
    guardian_id         uuid,
    dependent_id        uuid,
    other_digest        bytea,
    kinds               text[]      NOT NULL,
    transaction_maximum bigint      NOT NULL,
    day_maximum         bigint      NOT NULL,
    month_maximum       bigint      NOT NULL,
    valid_until         timestamptz NOT NULL,
    proposed_at         timestamptz NOT NULL,
    confirmed_at        timestamptz,
    ended_at            timestamptz,
    ended_by            uuid,
    CONSTRAINT delegation_pkey PRIMARY KEY (id),
    CONSTRAINT delegation_guardian_fkey FOREIGN KEY (guardian_id) REFERENCES identity.citizen (id),
    CONSTRAINT delegation_dependent_fkey FOREIGN KEY (dependent_id) REFERENCES identity.citizen (id),
    CONSTRAINT delegation_two_people CHECK (guardian_id <> dependent_id),
    CONSTRAINT delegation_proposer_is_one CHECK (proposed_by = guardian_id OR proposed_by = dependent_id),
    CONSTRAINT delegation_confirmed_by_both CHECK (confirmed_at IS NULL OR (guardian_id IS NOT NULL AND dependent_id IS NOT NULL)),
    CONSTRAINT delegation_addressed_until_answered CHECK ((other_digest IS NOT NULL) = (confirmed_at IS NULL AND ended_at IS NULL)),
    CONSTRAINT delegation_digest_length CHECK (octet_length(other_digest) = 32),
    CONSTRAINT delegation_kinds_known CHECK (cardinality(kinds) > 0 AND kinds <@ ARRAY['merchant', 'bill', 'fee']),
    CONSTRAINT delegation_limits_in_order CHECK (0 < transaction_maximum AND transaction_maximum <= day_maximum AND day_maximum <= month_maximum),
    CONSTRAINT delegation_until_after CHECK (valid_until > proposed_at),
    CONSTRAINT delegation_ended_by_somebody CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
COMMENT ON TABLE identity.delegation IS 'What a guardian may pay for somebody: proposed by one of them, confirmed by the other, ended by either. Limits never change; history is kept.';
COMMENT ON COLUMN identity.delegation.other_digest IS 'The keyed digest of the number to which it is proposed; wiped with the answer. Whether anybody has that number is not said.';
CREATE UNIQUE INDEX delegation_one_in_force ON identity.delegation (guardian_id, dependent_id) WHERE confirmed_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX delegation_guardian ON identity.delegation (guardian_id, id);
CREATE INDEX delegation_dependent ON identity.delegation (dependent_id, id);
CREATE INDEX delegation_other ON identity.delegation (other_digest, id) WHERE other_digest IS NOT NULL;

COMMENT ON COLUMN identity.revocation.session_id IS 'The session, or the delegation whose tokens are refused likewise.';

GRANT SELECT, INSERT ON identity.delegation TO trangtien_identity;
GRANT UPDATE (guardian_id, dependent_id, other_digest, confirmed_at, ended_at, ended_by) ON identity.delegation TO trangtien_identity;
