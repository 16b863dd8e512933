-- Gauges that were set anew, and lists that read no more than they show.

SET LOCAL lock_timeout = '5s';

ALTER TABLE ioc.datastream
    ADD COLUMN jump_at     timestamptz,
    ADD COLUMN jump_result double precision,
    ADD COLUMN jumps       smallint NOT NULL DEFAULT 0,
    ADD CONSTRAINT datastream_jump_is_whole_ck CHECK ((jump_at IS NULL) = (jump_result IS NULL) AND (jumps = 0) = (jump_at IS NULL));
COMMENT ON COLUMN ioc.datastream.jumps IS 'How many readings in a row were too far from the newest plausible one, and agree with each other; jump_at and jump_result are the last of them.';

CREATE INDEX observation_phenomenon_at_idx ON ioc.observation (phenomenon_at, id);
CREATE INDEX alarm_open_idx ON ioc.alarm (id) WHERE state <> 'closed';
