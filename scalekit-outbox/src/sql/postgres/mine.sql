-- The lanes that a relay owns, whether it has its fair share, and whether a lane stands on a tick of another system, as
-- after a restore of a dump, or on one of later transactions than there are, or has events of such: then transaction ids
-- cannot be compared, and nothing is sent before a rebase.
-- $1 relay, text  $2 lease in seconds, float8
-- One row: lanes smallint[], epochs bigint[], fair bigint, moved boolean
select coalesce(array_agg(lane order by lane) filter (where owner = $1::uuid), '{}') as lanes,
       coalesce(array_agg(epoch order by lane) filter (where owner = $1::uuid), '{}') as epochs,
       (select floor(64.0 / greatest(count(*), 1))::bigint from scalekit.relay
         where beat > clock_timestamp() - make_interval(secs => $2)) as fair,
       exists (select from scalekit.lane l join scalekit.tick t on t.id in (l.tick, l.next_tick)
                where t.cluster <> ''
                  and (split_part(t.cluster, '/', 1) <> (select system_identifier::text from pg_control_system())
                       or pg_snapshot_xmax(t.snap) > pg_snapshot_xmax(pg_current_snapshot())))
       or exists (select from scalekit.lane l join scalekit.event e
                      on e.lane = l.lane and e.xid >= pg_snapshot_xmax(pg_current_snapshot())) as moved
  from scalekit.lane
