-- Bounds the transaction of a rebase; its first statement.
-- Waiting for the lock ends before the client gives up. A relay that is halted must not hold the others up: its session
-- ends after two seconds without a statement. One that has gone ends its statement, however long that would run; servers
-- that cannot see that (before version 14, or not on Linux) finish it first. The client bounds it otherwise.
select set_config(name, value, true)
  from (values ('lock_timeout', '4000'), ('idle_in_transaction_session_timeout', '2000'), ('statement_timeout', '0'),
               ('client_connection_check_interval', '1000')) as bound (name, value)
 where exists (select from pg_settings s where s.name = bound.name)
   and (name <> 'client_connection_check_interval' or version() like '%linux%')
