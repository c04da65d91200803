-- Deletes events that are acknowledged and old enough, at most $3 of each lane of a relay.
-- $1 relay, text  $2 retention in seconds, float8  $3 bigint
-- A relay that is halted here must not hold the others up: its session ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true)
)
delete from scalekit.event using bounds
 where ctid = any (array(
       select old.ctid
         from scalekit.lane l
         join scalekit.tick p on p.id = l.tick
        cross join lateral (
              select e.ctid, e.at from scalekit.event e
               where e.lane = l.lane and e.xid < pg_snapshot_xmin(p.snap)
               order by e.xid, e.seq
               limit $3) old
        where l.owner = $1::uuid
          -- A tick of another system says nothing about the transactions of this one.
          and split_part(p.cluster, '/', 1) = (select system_identifier::text from pg_control_system())
          and pg_snapshot_xmax(p.snap) <= pg_snapshot_xmax(pg_current_snapshot())
          and old.at < clock_timestamp() - make_interval(secs => $2)))
