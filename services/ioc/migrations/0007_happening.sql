-- What the wall's numbers of money and messages count, one by one.

SET LOCAL lock_timeout = '5s';

CREATE TABLE ioc.happening (
    kind        text        NOT NULL,
    outcome     text        NOT NULL,
    happened_at timestamptz NOT NULL,
    event_id    uuid        NOT NULL,
    reference   uuid,
    count       bigint      NOT NULL,
    amount      bigint      NOT NULL,
    CONSTRAINT happening_pk PRIMARY KEY (kind, happened_at, event_id),
    CONSTRAINT happening_count_ck CHECK (count > 0 AND amount >= 0)
);
COMMENT ON TABLE ioc.happening IS 'What minute_tally and day_tally count of money and messages, event by event, written with them: the list behind the number. Of an event its own id and that of the payment, top-up or message that it tells of; never whose it is. Old ones are removed.';
CREATE INDEX happening_at_idx ON ioc.happening (happened_at);
GRANT SELECT, INSERT, DELETE ON ioc.happening TO trangtien_ioc;
