-- The file as SQLite has opened it, links resolved; nothing for a database in memory.
select nullif(file, '') from pragma_database_list where name = 'main'
