-- A key per person: what a service keeps of somebody is sealed under it, and gone with it.
CREATE TABLE {schema}.person_key (
    person       uuid        NOT NULL,
    key          bytea,
    made_at      timestamptz NOT NULL,
    destroyed_at timestamptz,
    CONSTRAINT person_key_pk PRIMARY KEY (person),
    CONSTRAINT person_key_is_there_or_destroyed CHECK ((key IS NULL) = (destroyed_at IS NOT NULL))
);
COMMENT ON TABLE {schema}.person_key IS 'Keys of persons, each random and sealed by the service''s configured key. A destroyed one stays as a row without key, so that nothing of that person is ever sealed again.';
GRANT SELECT, INSERT, UPDATE ON {schema}.person_key TO trangtien_{schema};
