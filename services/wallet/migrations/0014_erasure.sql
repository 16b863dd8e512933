-- A closing that was opened again stays known, so that a step of it that comes late closes nothing.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.closing ADD COLUMN reopened_at timestamptz;
COMMENT ON TABLE wallet.closing IS 'Citizens whose account is being closed: nothing of theirs begins any more, and their account in the ledger is frozen. The newest closing of each.';
COMMENT ON COLUMN wallet.closing.reopened_at IS 'When everything was opened again; that closing closes nothing any more.';
GRANT UPDATE (reopened_at) ON wallet.closing TO trangtien_wallet;
