-- The newest tick: another relay's, for one that came too late to store its own.
-- One row: id
select max(id) as id from scalekit.tick
