-- The live record of a claim.
-- ?1 id blob(32)
select claimed_at, fingerprint, status, head, body, after_commit
  from scalekit_claim
 where id = ?1 and retain_until > unixepoch('subsec') * 1000000
