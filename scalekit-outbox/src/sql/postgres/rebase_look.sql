-- What a rebase starts from: the third statement of its transaction, which must not have an id of its own yet.
-- One row: snap text, moved boolean (a lane stands on a tick of another system, as after a restore of a dump)
select pg_current_snapshot()::text as snap,
       exists (select from scalekit.lane l join scalekit.tick t on t.id in (l.tick, l.next_tick)
                where t.cluster <> ''
                  and (split_part(t.cluster, '/', 1) <> (select system_identifier::text from pg_control_system())
                       or pg_snapshot_xmax(t.snap) > pg_snapshot_xmax(pg_current_snapshot())))
       or exists (select from scalekit.lane l join scalekit.event e
                      on e.lane = l.lane and e.xid >= pg_snapshot_xmax(pg_current_snapshot())) as moved
