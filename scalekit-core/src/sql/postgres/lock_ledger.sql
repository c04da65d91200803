-- Serialises migrations; ends with the transaction, so it holds behind a pooler in transaction mode.
select pg_advisory_xact_lock(7093841652401577083)
