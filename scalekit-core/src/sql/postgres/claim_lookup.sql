-- The record of a claim that committed while claim.sql ran.
-- $1 id bytea(32)  $2 lock_timeout from here on, as text in milliseconds
select false as taken, (extract(epoch from claimed_at) * 1000000)::bigint as micros,
       current_setting('transaction_isolation') as isolation, pg_current_wal_insert_lsn()::text as position,
       fingerprint, status, head, body, after_commit, set_config('lock_timeout', $2, true)
  from scalekit.claim
 where id = $1
