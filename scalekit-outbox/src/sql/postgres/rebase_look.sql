-- What a rebase starts from: the third statement of its transaction, which must not have an id of its own before it.
-- One row: snap text, xid text, moved boolean (a lane stands on a tick of another system, as after a restore of a dump)
-- The transaction takes its id right after the snapshot, and before anything is read that takes time: what gets an id in
-- between is listed in a tick.
with start as materialized (select pg_current_snapshot()::text as snap, pg_current_xact_id()::text as xid)
select start.snap, start.xid,
       exists (select from scalekit.lane l join scalekit.tick t on t.id in (l.tick, l.next_tick)
                where t.cluster <> ''
                  and (split_part(t.cluster, '/', 1) <> (select system_identifier::text from pg_control_system())
                       or pg_snapshot_xmax(t.snap) > pg_snapshot_xmax(pg_current_snapshot())))
       or exists (select from scalekit.lane l join scalekit.event e
                      on e.lane = l.lane and e.xid >= pg_snapshot_xmax(pg_current_snapshot())) as moved
  from start
