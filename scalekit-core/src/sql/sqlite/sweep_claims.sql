-- Deletes at most ?1 claims whose retention is over.
delete from scalekit_claim
 where id in (select id from scalekit_claim where retain_until < unixepoch('subsec') * 1000000 order by retain_until limit ?1)
