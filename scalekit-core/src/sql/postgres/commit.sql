select current_setting('synchronous_commit'); commit and chain; select pg_current_wal_flush_lsn()::text, pg_current_wal_insert_lsn()::text
