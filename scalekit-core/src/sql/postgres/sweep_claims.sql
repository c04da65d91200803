-- Deletes at most $1 (bigint) claims whose retention is over; skips those that are being claimed again.
delete from scalekit.claim
 where id in (select id from scalekit.claim where retain_until < now() order by retain_until limit $1 for update skip locked)
