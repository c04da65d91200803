-- Stores the answer with the claim, once and only in the transaction that took it.
-- $1 id bytea(32)  $2 status smallint  $3 head bytea  $4 body bytea or null  $5 after_commit bytea or null
update scalekit.claim set status = $2, head = $3, body = $4, after_commit = $5
 where id = $1 and holder = pg_current_xact_id() and head is null
