-- What this database is, whatever name it was reached by. A copy of the server's files keeps the system identifier, so
-- the moment of the server's start tells the two apart.
select concat_ws('/', (select system_identifier from pg_control_system()),
                 extract(epoch from pg_postmaster_start_time()),
                 (select oid from pg_database where datname = current_database()))
