-- The lanes that a relay owns, whether it has its fair share, and whether the database is still the one that the ticks
-- were taken from (or a copy with later transaction ids).
-- $1 relay, text  $2 lease in seconds, float8
-- One row: lanes smallint[], epochs bigint[], fair bigint, regressed boolean
select coalesce(array_agg(lane order by lane) filter (where owner = $1::uuid), '{}') as lanes,
       coalesce(array_agg(epoch order by lane) filter (where owner = $1::uuid), '{}') as epochs,
       (select floor(64.0 / greatest(count(*), 1))::bigint from scalekit.relay
         where beat > clock_timestamp() - make_interval(secs => $2)) as fair,
       (select pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmin(snap)
          from scalekit.tick order by id desc limit 1) as regressed
  from scalekit.lane
