-- A copy of everything that all services keep of a citizen: asked for by event, handed over in pieces, kept sealed for some days.
--
-- Lock order: citizen, then archive, then archive_part, then audit_head, then platform's outbox.

SET LOCAL lock_timeout = '5s';

CREATE TABLE identity.archive (
    id           uuid        NOT NULL,
    citizen_id   uuid        NOT NULL,
    requested_at timestamptz NOT NULL,
    ready_at     timestamptz,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT archive_pkey PRIMARY KEY (id),
    CONSTRAINT archive_citizen_fkey FOREIGN KEY (citizen_id) REFERENCES identity.citizen (id),
    CONSTRAINT archive_expiry_after_request CHECK (expires_at > requested_at)
);
COMMENT ON TABLE identity.archive IS 'Copies of everything that is kept of a citizen: gathered until ready_at, offered until expires_at, then removed.';
CREATE UNIQUE INDEX archive_one_gathering ON identity.archive (citizen_id) WHERE ready_at IS NULL;
CREATE INDEX archive_citizen ON identity.archive (citizen_id, id);
CREATE INDEX archive_expires_at ON identity.archive (expires_at);

CREATE TABLE identity.archive_part (
    archive_id  uuid        NOT NULL,
    service     text        NOT NULL,
    attempt_id  uuid,
    pieces      integer     NOT NULL DEFAULT 0,
    finished_at timestamptz,
    CONSTRAINT archive_part_pkey PRIMARY KEY (archive_id, service),
    CONSTRAINT archive_part_archive_fkey FOREIGN KEY (archive_id) REFERENCES identity.archive (id) ON DELETE CASCADE,
    CONSTRAINT archive_part_service_known CHECK (service IN ('identity', 'wallet', 'reports', 'notifications')),
    CONSTRAINT archive_part_pieces_bounded CHECK (pieces BETWEEN 0 AND 4096)
);
COMMENT ON TABLE identity.archive_part IS 'What each service hands over for a copy: one attempt counts, the one that began last.';

CREATE TABLE identity.archive_piece (
    archive_id uuid    NOT NULL,
    service    text    NOT NULL,
    ordinal    integer NOT NULL,
    sealed     bytea   NOT NULL,
    CONSTRAINT archive_piece_pkey PRIMARY KEY (archive_id, service, ordinal),
    CONSTRAINT archive_piece_part_fkey FOREIGN KEY (archive_id, service)
        REFERENCES identity.archive_part (archive_id, service) ON DELETE CASCADE
);
COMMENT ON TABLE identity.archive_piece IS 'Pieces of what a service handed over, in order, each sealed under the citizen''s data_key for its copy, service, attempt and place.';

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.archive, identity.archive_part, identity.archive_piece TO trangtien_identity;
