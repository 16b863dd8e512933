-- What a late word must not undo: that a guardian's payment was made, and that a bank took money after all.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.delegated_spending ADD COLUMN paid_at timestamptz;
COMMENT ON COLUMN wallet.delegated_spending.paid_at IS 'When the money of a payment to a merchant moved, written in the batch that moved it: it counts for good, whoever was still about to release it. NULL in rows from before.';
GRANT UPDATE (paid_at) ON wallet.delegated_spending TO trangtien_wallet;

ALTER TABLE wallet.top_up ADD COLUMN taken_at timestamptz;
COMMENT ON COLUMN wallet.top_up.taken_at IS 'When the bank said that it had taken the money, after it had said that it had not: from then on only officers end it without the money. NULL in rows from before.';
GRANT UPDATE (taken_at) ON wallet.top_up TO trangtien_wallet;
