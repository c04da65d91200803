-- The first parked event of each key, oldest first.
-- $1 most rows, bigint
select q.id::text as id, q.type, q.lane, q.reason, q.retry_at is not null as retry, q.attempts,
       extract(epoch from clock_timestamp() - q.parked_at)::bigint as seconds,
       (select count(*) from (select from scalekit.parked b
                               where b.lane = q.lane and b.key = q.key and (b.tick, b.seq) > (q.tick, q.seq)
                               limit 1000) behind) as behind
  from scalekit.parked q
 where q.reason is not null
   and not exists (select from scalekit.parked f
                    where f.lane = q.lane and f.key = q.key and (f.tick, f.seq) < (q.tick, q.seq))
 order by q.parked_at
 limit $1
