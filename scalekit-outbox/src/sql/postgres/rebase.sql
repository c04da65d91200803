-- Puts all lanes on fresh ticks, under the next epoch of the cluster, with every event before them that is not known
-- to be acknowledged; the fourth statement of a rebase.
-- $1 the snapshot that was looked at, text
-- One row: events bigint, how many were put back
-- Two ticks: the first is the snapshot that was looked at, the second sees this transaction's id as well. An event that
-- was not acknowledged gets that id, so the window between the two holds exactly those, ahead of all that is appended
-- meanwhile, and is open on their lanes. One that was acknowledged gets an id before all others where its own is still
-- to come here. Batches under way are not acknowledged any more, since the lanes' epochs rise: they come again. The
-- epochs rise above the clock, since a sink that runs on may know later ones than a database that was put back.
-- In their window the events are numbered anew: those of a window that was open come first, and all in the order of seq.
-- A copy may have left the sequence behind, and what was appended here has the numbers of older ones then; so in a
-- database that was moved, or whose sequence is behind, the order is that of the clock.
-- A tick of another system covers the transaction ids of that system. What was appended here since has ids of its own and
-- is younger than the tick, so the clocks of the two must not differ by more than the move has taken.
with here as materialized (
    select (select system_identifier::text from pg_control_system()) as system,
           substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as timeline,
           set_config('synchronous_commit', case current_setting('synchronous_commit')
                                                when 'off' then 'on' when 'local' then 'on'
                                                else current_setting('synchronous_commit') end, true)
), fresh as materialized (
    select greatest(max(t.id) + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint) as id,
           max(t.epoch) + 1 as epoch, max(here.system || '/' || here.timeline) as cluster
      from scalekit.tick t, here
), ours as materialized (
    select pg_current_xact_id() as xid
), running as materialized (
    select x.xid from pg_snapshot_xip($1::pg_snapshot) x (xid)
     union all
    select id::text::xid8
      from ours, generate_series(pg_snapshot_xmax($1::pg_snapshot)::text::bigint, ours.xid::text::bigint - 1) id
), ticks as (
    insert into scalekit.tick (id, snap, epoch, cluster)
    select id, $1::pg_snapshot, epoch, cluster from fresh
     union all
    select fresh.id + 1,
           (pg_snapshot_xmin($1::pg_snapshot)::text || ':' || ours.xid::text::bigint + 1 || ':'
            || coalesce((select string_agg(xid::text, ',' order by xid) from running), ''))::pg_snapshot,
           fresh.epoch, fresh.cluster
      from fresh, ours
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
    select e.ctid as place, e.lane, e.xid, e.seq, e.at,
           s.open is not null and not s.open_foreign and pg_visible_in_snapshot(e.xid, s.open) as opened,
           pg_visible_in_snapshot(e.xid, s.before)
           and (not s.before_foreign or e.at <= s.before_at)
           or s.open is not null and e.seq <= s.seq and pg_visible_in_snapshot(e.xid, s.open)
              and (not s.open_foreign or e.at <= s.open_at) as acknowledged
      from stand s
      join scalekit.event e on e.lane = s.lane
), left_behind as materialized (
    select exists (select from stand where before_foreign or open_foreign)
           or coalesce(pg_sequence_last_value('scalekit.event_seq_seq'), 0) < (select max(seq) from judged)
           or exists (select from judged where not acknowledged group by lane, seq having count(*) > 1) as sequence
), again as materialized (
    select j.place, j.lane,
           row_number() over (partition by j.lane
                              order by j.opened desc, case when b.sequence then j.at end, j.seq) as seq
      from judged j, left_behind b
     where not j.acknowledged
), put_back as (
    update scalekit.event as e
       set xid = ours.xid, seq = again.seq
      from again, ours
     where e.ctid = again.place
), passed as (
    update scalekit.event as e
       set xid = '1'::xid8
      from judged j
     where e.ctid = j.place and j.acknowledged and j.xid >= pg_snapshot_xmin($1::pg_snapshot)
), moved as (
    update scalekit.lane as l
       set owner = null, epoch = greatest(l.epoch, extract(epoch from clock_timestamp())::bigint) + 1,
           tick = case when waits then fresh.id else fresh.id + 1 end,
           next_tick = case when waits then fresh.id + 1 end, seq = 0
      from fresh, (select s.lane, a.lane is not null as waits
                     from stand s left join (select distinct lane from again) a on a.lane = s.lane) w
     where l.lane = w.lane
)
select count(*) as events from again
