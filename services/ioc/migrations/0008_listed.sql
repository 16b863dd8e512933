-- Every number has a list, which is found by kind and outcome; and each number knows how much of it is listed.
--
-- Processes of before count what they do not list: `listed` is what they leave alone.

SET LOCAL lock_timeout = '5s';

ALTER TABLE ioc.happening
    DROP CONSTRAINT happening_pk,
    ADD CONSTRAINT happening_pk PRIMARY KEY (kind, outcome, happened_at, event_id);
COMMENT ON TABLE ioc.happening IS 'What minute_tally and day_tally count, event by event, written with them: the list behind the number. Of an event its own id and that of the payment, top-up, message or report that it tells of, of what people and their sessions do only its own; never whose it is. Old ones are removed.';

ALTER TABLE ioc.minute_tally
    ADD COLUMN listed bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT minute_tally_listed_ck CHECK (listed BETWEEN 0 AND count);
COMMENT ON COLUMN ioc.minute_tally.listed IS 'How much of count was listed in happening when it was counted.';
ALTER TABLE ioc.day_tally
    ADD COLUMN listed bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT day_tally_listed_ck CHECK (listed BETWEEN 0 AND count);
COMMENT ON COLUMN ioc.day_tally.listed IS 'How much of count was listed in happening when it was counted.';

UPDATE ioc.minute_tally AS known
SET listed = LEAST(known.count, new.listed)
FROM (SELECT date_trunc('minute', happened_at) AS minute, kind, outcome, SUM(count)::bigint AS listed FROM ioc.happening
      GROUP BY 1, 2, 3) AS new
WHERE known.minute = new.minute AND known.kind = new.kind AND known.outcome = new.outcome;
-- The zone of the city's days is not known here: of a day around which something is listed, everything counts as listed.
UPDATE ioc.day_tally AS known
SET listed = known.count
WHERE EXISTS (SELECT FROM ioc.happening AS one
              WHERE one.kind = known.kind AND one.outcome = known.outcome
                  AND one.happened_at >= known.day - 1 AND one.happened_at < known.day + 2);
