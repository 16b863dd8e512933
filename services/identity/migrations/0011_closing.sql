-- Closings of accounts: every service lets the citizen go or says why not; then there is time to take it back; then everything is erased.
--
-- A citizen who was erased stays as a row with an id and nothing else: the audit, roles and the books name that id.
-- Lock order: citizen, then closing, then closing_answer, then revocation_head, audit_head, platform's outbox.

SET LOCAL lock_timeout = '5s';

ALTER TABLE identity.citizen
    ADD COLUMN erased_at timestamptz,
    ADD CONSTRAINT citizen_erased_is_empty CHECK (
        erased_at IS NULL OR (octet_length(data_key) = 0 AND octet_length(phone) = 0 AND display_name IS NULL));
COMMENT ON COLUMN identity.citizen.erased_at IS 'When everything but the id was erased: no key, no number, a random phone_digest. The number is free for a new account.';

CREATE TABLE identity.closing (
    id         uuid        NOT NULL,
    citizen_id uuid        NOT NULL,
    state      text        NOT NULL,
    asked_at   timestamptz NOT NULL,
    erase_at   timestamptz,
    ended_at   timestamptz,
    CONSTRAINT closing_pkey PRIMARY KEY (id),
    CONSTRAINT closing_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT closing_state_known CHECK (state IN ('asked', 'refused', 'cooling', 'taken-back', 'erasing', 'erased')),
    CONSTRAINT closing_agreed_has_time CHECK (state NOT IN ('cooling', 'erasing', 'erased') OR erase_at IS NOT NULL),
    CONSTRAINT closing_ended_has_time CHECK ((state IN ('refused', 'taken-back', 'erased')) = (ended_at IS NOT NULL))
);
COMMENT ON TABLE identity.closing IS 'Citizens who want to leave, and how far each has come (src/closing/rule.rs).';
CREATE UNIQUE INDEX closing_one_open ON identity.closing (citizen_id) WHERE state IN ('asked', 'cooling', 'erasing');
CREATE INDEX closing_citizen ON identity.closing (citizen_id, id);

CREATE TABLE identity.closing_answer (
    closing_id  uuid        NOT NULL,
    service     text        NOT NULL,
    answered_at timestamptz,
    hindrances  text[]      NOT NULL DEFAULT '{}',
    erased_at   timestamptz,
    CONSTRAINT closing_answer_pkey PRIMARY KEY (closing_id, service),
    CONSTRAINT closing_answer_closing_fkey FOREIGN KEY (closing_id) REFERENCES identity.closing (id),
    CONSTRAINT closing_answer_service_known CHECK (service IN ('identity', 'wallet', 'reports', 'notifications')),
    CONSTRAINT closing_answer_hindrances_bounded CHECK (cardinality(hindrances) <= 16)
);
COMMENT ON TABLE identity.closing_answer IS 'What each service said to a closing: stable codes of what stands against it, none when it lets the citizen go; and when it had erased them.';

GRANT SELECT, INSERT, UPDATE ON identity.closing, identity.closing_answer TO trangtien_identity;
