-- Stores a snapshot. A transaction of its own, in READ COMMITTED.
-- One row: id. None if another relay stored one at the same moment: use the newest.
-- Ids make the order of ticks that of their snapshots: who computes id n + 1 has seen n committed. Its flushed commit
-- also flushes every commit that the snapshot sees, so no event is sent that a crash of the server could take back.
-- Others wait for an unfinished tick, so the session of a process that is halted here ends after two seconds.
with bounds as materialized (
    select set_config('idle_in_transaction_session_timeout', '2000', true),
           set_config('synchronous_commit', case current_setting('synchronous_commit')
                                                when 'off' then 'on' when 'local' then 'on'
                                                else current_setting('synchronous_commit') end, true)
), here as materialized (
    select (select system_identifier from pg_control_system()) || '/'
           || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) as cluster
      from bounds
), newest as materialized (
    select id, epoch, cluster from scalekit.tick order by id desc limit 1
)
insert into scalekit.tick (id, snap, epoch, cluster)
select newest.id + 1, pg_current_snapshot(),
       newest.epoch + (newest.cluster not in ('', here.cluster))::integer, here.cluster
  from here, newest
    on conflict (id) do nothing
returning id
