-- The first parked event of each key, oldest first.
-- ?1 most rows
select q.id, q.type, q.lane, q.reason, q.retry_at is not null as retry, q.attempts,
       cast(unixepoch('subsec') - q.parked_at / 1000000.0 as integer) as seconds,
       (select count(*) from (select 1 from scalekit_parked b
                               where b.lane = q.lane and b.key = q.key and b.seq > q.seq limit 1000)) as behind
  from scalekit_parked q
 where q.reason is not null
   and not exists (select 1 from scalekit_parked f where f.lane = q.lane and f.key = q.key and f.seq < q.seq)
 order by q.parked_at
 limit ?1
