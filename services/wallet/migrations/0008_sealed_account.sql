-- Account numbers at banks are sealed under the key of their citizen. Rows from before are sealed by a task, beside everything else.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.top_up
    ALTER COLUMN account DROP NOT NULL,
    ADD COLUMN account_sealed bytea;
COMMENT ON COLUMN wallet.top_up.account IS 'Only in rows from before account_sealed, until they are sealed.';
COMMENT ON COLUMN wallet.top_up.account_sealed IS 'The citizen''s account number at the bank, sealed under their key.';
CREATE INDEX top_up_unsealed_ix ON wallet.top_up (id) WHERE account IS NOT NULL;
GRANT UPDATE (account, account_sealed) ON wallet.top_up TO trangtien_wallet;
