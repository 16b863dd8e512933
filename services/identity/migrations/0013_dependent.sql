-- People without a telephone: an officer registers them with their papers, their guardian confirms, and an account without a number begins.
--
-- Until the guardian confirms there is no account: what the officer wrote is sealed here, and wiped with the answer.
-- Lock order: citizen (the guardian's, then the dependent's), then dependent, then delegation, then revocation_head, audit_head,
-- platform's outbox.

SET LOCAL lock_timeout = '5s';

ALTER TABLE identity.citizen
    ALTER COLUMN phone_digest DROP NOT NULL,
    ALTER COLUMN phone DROP NOT NULL,
    ADD CONSTRAINT citizen_phone_whole CHECK ((phone IS NULL) = (phone_digest IS NULL));
COMMENT ON TABLE identity.citizen IS 'A person who has proved a phone number, one row per number; or one for whom a guardian acts until they have a number.';
COMMENT ON COLUMN identity.citizen.phone_digest IS 'HMAC-SHA256 of the E.164 number under the phone key: for look-up. None while the person has no number.';

ALTER TABLE identity.citizen_number
    DROP CONSTRAINT citizen_number_source_known,
    ADD CONSTRAINT citizen_number_source_known CHECK (source IN ('ekyc', 'vneid', 'officer'));

ALTER TABLE identity.challenge
    DROP CONSTRAINT challenge_purpose_known,
    ADD CONSTRAINT challenge_purpose_known CHECK (purpose IN ('sign-in', 'pin-reset', 'attach-phone'));

CREATE TABLE identity.dependent (
    id                  uuid        NOT NULL,
    guardian_id         uuid        NOT NULL,
    registered_by       uuid        NOT NULL,
    ward                text        NOT NULL,
    claim               bytea,
    number_digest       bytea,
    kinds               text[]      NOT NULL,
    transaction_maximum bigint      NOT NULL,
    day_maximum         bigint      NOT NULL,
    month_maximum       bigint      NOT NULL,
    valid_until         timestamptz NOT NULL,
    registered_at       timestamptz NOT NULL,
    confirmed_at        timestamptz,
    citizen_id          uuid,
    delegation_id       uuid,
    ended_at            timestamptz,
    ended_by            uuid,
    CONSTRAINT dependent_pkey PRIMARY KEY (id),
    CONSTRAINT dependent_guardian_fkey FOREIGN KEY (guardian_id) REFERENCES identity.citizen (id),
    CONSTRAINT dependent_officer_fkey FOREIGN KEY (registered_by) REFERENCES identity.citizen (id),
    CONSTRAINT dependent_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT dependent_delegation_fkey FOREIGN KEY (delegation_id) REFERENCES identity.delegation (id),
    CONSTRAINT dependent_three_people CHECK (guardian_id <> registered_by AND guardian_id <> citizen_id),
    CONSTRAINT dependent_ward_length CHECK (char_length(ward) BETWEEN 1 AND 12),
    CONSTRAINT dependent_claim_until_answered CHECK ((claim IS NOT NULL) = (confirmed_at IS NULL AND ended_at IS NULL)),
    CONSTRAINT dependent_number_with_claim CHECK ((number_digest IS NULL) = (claim IS NULL)),
    CONSTRAINT dependent_digest_length CHECK (octet_length(number_digest) = 32),
    CONSTRAINT dependent_one_answer CHECK (confirmed_at IS NULL OR ended_at IS NULL),
    CONSTRAINT dependent_account_when_confirmed CHECK (
        (confirmed_at IS NULL) = (citizen_id IS NULL) AND (confirmed_at IS NULL) = (delegation_id IS NULL)),
    CONSTRAINT dependent_ended_by_with_time CHECK (ended_by IS NULL OR ended_at IS NOT NULL),
    CONSTRAINT dependent_kinds_known CHECK (cardinality(kinds) > 0 AND kinds <@ ARRAY['merchant', 'bill', 'fee']),
    CONSTRAINT dependent_limits_in_order CHECK (0 < transaction_maximum AND transaction_maximum <= day_maximum AND day_maximum <= month_maximum),
    CONSTRAINT dependent_until_after CHECK (valid_until > registered_at)
);
COMMENT ON TABLE identity.dependent IS 'People without a telephone whom an officer registered for a guardian: proposed, then confirmed by the guardian, refused, taken back or lapsed.';
COMMENT ON COLUMN identity.dependent.claim IS 'Number, name and day of birth as their papers say, sealed by the configuration''s key; wiped with the answer.';
COMMENT ON COLUMN identity.dependent.number_digest IS 'HMAC-SHA256 of the citizen number under the look-up key; wiped with the answer: then identity.citizen_number has it.';
COMMENT ON COLUMN identity.dependent.ended_by IS 'The officer or the guardian; nobody when it lapsed.';
CREATE UNIQUE INDEX dependent_one_proposed ON identity.dependent (number_digest) WHERE number_digest IS NOT NULL;
CREATE INDEX dependent_guardian ON identity.dependent (guardian_id, id);
CREATE INDEX dependent_citizen ON identity.dependent (citizen_id, id) WHERE citizen_id IS NOT NULL;
CREATE INDEX dependent_ward ON identity.dependent (ward, id);
CREATE INDEX dependent_waiting ON identity.dependent (registered_at) WHERE claim IS NOT NULL;

GRANT SELECT, INSERT ON identity.dependent TO trangtien_identity;
GRANT UPDATE (claim, number_digest, confirmed_at, citizen_id, delegation_id, ended_at, ended_by) ON identity.dependent TO trangtien_identity;
