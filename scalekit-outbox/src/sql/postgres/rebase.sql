-- Puts all lanes on a fresh tick, under the next epoch of the cluster, with every event before them that is not known
-- to be acknowledged; the third statement of a rebase.
-- $1 the snapshot that was looked at, text
-- One row: events bigint, how many were put back
-- An event that was not acknowledged gets this transaction's id, which the snapshot does not see as it was given later,
-- so all of them are in the first window, in the order of seq. One that was gets an id before all others where its own is
-- still to come here. Batches under way are not acknowledged any more, since
-- the lanes' epochs rise: they come again. The epochs rise above the clock, since a sink that runs on may know later ones
-- than a database that was put back.
-- A tick of another system covers the transaction ids of that system. What was appended here since has ids of its own and
-- is younger than the tick, so the clocks of the two must not differ by more than the move has taken.
with here as materialized (
    select (select system_identifier::text from pg_control_system()) as system,
           substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as timeline,
           set_config('synchronous_commit', case current_setting('synchronous_commit')
                                                when 'off' then 'on' when 'local' then 'on'
                                                else current_setting('synchronous_commit') end, true)
), fresh as (
    insert into scalekit.tick (id, snap, epoch, cluster)
    select greatest(max(t.id) + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint),
           $1::pg_snapshot, max(t.epoch) + 1, max(here.system || '/' || here.timeline)
      from scalekit.tick t, here
    returning id
), stand as materialized (
    select l.lane, l.seq, p.snap as before, p.at as before_at, c.snap as open, c.at as open_at,
           p.cluster <> '' and (split_part(p.cluster, '/', 1) <> here.system
                                or pg_snapshot_xmax(p.snap) > pg_snapshot_xmax($1::pg_snapshot)) as before_foreign,
           split_part(c.cluster, '/', 1) <> here.system
           or pg_snapshot_xmax(c.snap) > pg_snapshot_xmax($1::pg_snapshot) as open_foreign
      from scalekit.lane l
      join scalekit.tick p on p.id = l.tick
      left join scalekit.tick c on c.id = l.next_tick
     cross join here
), judged as materialized (
    select e.ctid as place, e.xid,
           pg_visible_in_snapshot(e.xid, s.before)
           and (not s.before_foreign or e.at <= s.before_at)
           or s.open is not null and e.seq <= s.seq and pg_visible_in_snapshot(e.xid, s.open)
              and (not s.open_foreign or e.at <= s.open_at) as acknowledged
      from stand s
      join scalekit.event e on e.lane = s.lane
), put_back as (
    update scalekit.event as e
       set xid = case when j.acknowledged then '1'::xid8 else pg_current_xact_id() end
      from judged j
     where e.ctid = j.place and (not j.acknowledged or j.xid >= pg_snapshot_xmin($1::pg_snapshot))
    returning not j.acknowledged as again
), moved as (
    update scalekit.lane as l
       set owner = null, epoch = greatest(l.epoch, extract(epoch from clock_timestamp())::bigint) + 1, tick = fresh.id, next_tick = null, seq = 0
      from fresh
    returning 1
)
select (select count(*) from put_back where again) as events
