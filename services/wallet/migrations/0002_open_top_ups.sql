-- How many top-ups of a citizen have not ended is asked for each new one.
CREATE INDEX top_up_open_user_ix ON wallet.top_up (user_id) WHERE state NOT IN ('completed', 'failed');
