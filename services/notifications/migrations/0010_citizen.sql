-- Messages are made while the citizens whom they are for are held, so that an erasure waits for them and takes them along.
SET LOCAL lock_timeout = '5s';

-- To hold a row, which is what the right to change it is needed for.
GRANT UPDATE (user_id) ON notifications.citizen TO trangtien_notifications;
COMMENT ON TABLE notifications.citizen IS 'Who has an account, by identity''s word: news for all go to them. Whoever makes messages holds the rows of those whom they are for. A row goes with the account, before everything else.';
-- Whoever chose wards before identity said so; nobody who was erased.
INSERT INTO notifications.citizen (user_id)
SELECT user_id FROM notifications.ward_choice
WHERE NOT EXISTS (SELECT FROM notifications.person_key WHERE person = user_id AND key IS NULL)
ON CONFLICT ON CONSTRAINT citizen_pk DO NOTHING;
DELETE FROM notifications.citizen WHERE EXISTS (SELECT FROM notifications.person_key WHERE person = user_id AND key IS NULL);
