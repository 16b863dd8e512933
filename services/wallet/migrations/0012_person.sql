-- What is kept of one citizen is looked up, to hand it over. A closing that was not ended in the wallet gives way to the next.
SET LOCAL lock_timeout = '5s';

CREATE INDEX delegated_spending_user_ix ON wallet.delegated_spending (user_id);
CREATE INDEX delegated_spending_actor_ix ON wallet.delegated_spending (actor_id);
GRANT UPDATE (closing_id, closed_at) ON wallet.closing TO trangtien_wallet;
