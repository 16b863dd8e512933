-- What citizens are told once: that a bill falls due, that a partner has said nothing definite of their money for a while.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.bill ADD COLUMN reminded_at timestamptz;
COMMENT ON COLUMN wallet.bill.reminded_at IS 'When those whom it concerns were told that it falls due; once, also when its day is moved afterwards.';
GRANT UPDATE (reminded_at) ON wallet.bill TO trangtien_wallet;

ALTER TABLE wallet.bill_payment ADD COLUMN unclear_told_at timestamptz;
COMMENT ON COLUMN wallet.bill_payment.unclear_told_at IS 'When the citizen was told that it is still being confirmed.';
GRANT UPDATE (unclear_told_at) ON wallet.bill_payment TO trangtien_wallet;

ALTER TABLE wallet.top_up ADD COLUMN unclear_told_at timestamptz;
COMMENT ON COLUMN wallet.top_up.unclear_told_at IS 'When the citizen was told that it is still being confirmed.';
GRANT UPDATE (unclear_told_at) ON wallet.top_up TO trangtien_wallet;
