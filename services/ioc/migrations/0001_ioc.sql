-- What the wall shows, summed from the events of the other services.
--
-- Whoever changes what the wall shows locks the row of board first and counts its revision up, so that revisions grow in the order of commits:
-- a wall that has seen revision N misses exactly the rows with a greater one.
-- Amounts are minor units of the city's one currency.

SET LOCAL lock_timeout = '5s';

GRANT USAGE ON SCHEMA ioc TO trangtien_ioc;

CREATE TABLE ioc.board (
    board         smallint NOT NULL DEFAULT 1,
    epoch         text     NOT NULL DEFAULT left(replace(gen_random_uuid()::text, '-', ''), 12),
    revision      bigint   NOT NULL DEFAULT 0,
    book_position bigint   NOT NULL DEFAULT 0,
    CONSTRAINT board_pk PRIMARY KEY (board),
    CONSTRAINT board_is_one CHECK (board = 1),
    CONSTRAINT board_counts_up CHECK (revision >= 0 AND book_position >= 0)
) WITH (fillfactor = 10);
COMMENT ON TABLE ioc.board IS 'One row: the lock of all that the wall shows, its newest revision (of this epoch: a database made anew begins another), and the journal position up to which book_total has every entry.';
INSERT INTO ioc.board DEFAULT VALUES;
GRANT SELECT ON ioc.board TO trangtien_ioc;
GRANT UPDATE (revision, book_position) ON ioc.board TO trangtien_ioc;

CREATE TABLE ioc.source_position (
    stream    text     NOT NULL,
    partition smallint NOT NULL,
    position  bigint   NOT NULL,
    CONSTRAINT source_position_pk PRIMARY KEY (stream, partition),
    CONSTRAINT source_position_partition_ck CHECK (partition BETWEEN 0 AND 15)
) WITH (fillfactor = 50);
COMMENT ON TABLE ioc.source_position IS 'The newest position of each stream''s partition that the tallies include.';
GRANT SELECT, INSERT, UPDATE ON ioc.source_position TO trangtien_ioc;

CREATE TABLE ioc.minute_tally (
    minute   timestamptz NOT NULL,
    kind     text        NOT NULL,
    outcome  text        NOT NULL,
    count    bigint      NOT NULL,
    amount   bigint      NOT NULL,
    revision bigint      NOT NULL,
    CONSTRAINT minute_tally_pk PRIMARY KEY (minute, kind, outcome),
    CONSTRAINT minute_tally_count_ck CHECK (count > 0 AND amount >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE ioc.minute_tally IS 'How often each kind of thing ended how, and for how much, by minute. Old minutes are removed; days stay.';
GRANT SELECT, INSERT, UPDATE, DELETE ON ioc.minute_tally TO trangtien_ioc;

CREATE TABLE ioc.day_tally (
    day      date   NOT NULL,
    kind     text   NOT NULL,
    outcome  text   NOT NULL,
    count    bigint NOT NULL,
    amount   bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT day_tally_pk PRIMARY KEY (day, kind, outcome),
    CONSTRAINT day_tally_count_ck CHECK (count > 0 AND amount >= 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE ioc.day_tally IS 'The same by day of the city''s time zone.';
GRANT SELECT, INSERT, UPDATE ON ioc.day_tally TO trangtien_ioc;

CREATE TABLE ioc.last_payment (
    position bigint      NOT NULL,
    paid_at  timestamptz NOT NULL,
    merchant text        NOT NULL,
    amount   bigint      NOT NULL,
    revision bigint      NOT NULL,
    CONSTRAINT last_payment_pk PRIMARY KEY (position)
);
COMMENT ON TABLE ioc.last_payment IS 'The newest payments, by journal position: to which merchant and how much, never who paid.';
GRANT SELECT, INSERT, DELETE ON ioc.last_payment TO trangtien_ioc;

CREATE TABLE ioc.book_entry (
    position bigint NOT NULL,
    kind     text   NOT NULL,
    amount   bigint NOT NULL,
    CONSTRAINT book_entry_pk PRIMARY KEY (position)
);
COMMENT ON TABLE ioc.book_entry IS 'Journal entries that arrived before one of their predecessors did (partitions run at their own pace); folded into book_total once no gap is left before them.';
GRANT SELECT, INSERT, DELETE ON ioc.book_entry TO trangtien_ioc;

CREATE TABLE ioc.book_total (
    kind   text   NOT NULL,
    count  bigint NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT book_total_pk PRIMARY KEY (kind),
    CONSTRAINT book_total_count_ck CHECK (count > 0 AND amount >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE ioc.book_total IS 'Totals of the journal by kind of transfer, exactly up to board.book_position: what is compared with the wallet''s own books.';
GRANT SELECT, INSERT, UPDATE ON ioc.book_total TO trangtien_ioc;
