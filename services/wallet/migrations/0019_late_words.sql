-- What a late word must not undo: that a guardian's payment is on its way or was made, and that a bank took money.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.delegated_spending
    ADD COLUMN bookings integer NOT NULL DEFAULT 1,
    ADD COLUMN paid_at timestamptz;
COMMENT ON COLUMN wallet.delegated_spending.bookings IS 'How many requests have counted it and not taken that back: the last one that is refused releases it.';
COMMENT ON COLUMN wallet.delegated_spending.paid_at IS 'When the money of a payment to a merchant moved, written in the batch that moved it: it counts for good, whoever was still about to release it. NULL in rows from before.';
GRANT UPDATE (bookings, paid_at) ON wallet.delegated_spending TO trangtien_wallet;

ALTER TABLE wallet.top_up ADD COLUMN taken_at timestamptz;
COMMENT ON COLUMN wallet.top_up.taken_at IS 'When the bank said that it had taken the money, if it could not be credited at once or the bank had said before that it had not: no word of the bank, and no proposal of officers from before, ends it without the money then. NULL in rows from before.';
GRANT UPDATE (taken_at) ON wallet.top_up TO trangtien_wallet;
