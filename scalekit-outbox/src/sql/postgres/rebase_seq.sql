-- Raises the number of the next event above all that are there, where a copy of the rows left it behind; the last
-- statement of a rebase. Far above: appending goes on, and what takes a number meanwhile must not get it twice.
select setval('scalekit.event_seq_seq', highest + 1000000)
  from (select max(seq) as highest from scalekit.event) events
 where highest > coalesce(pg_sequence_last_value('scalekit.event_seq_seq'), 0)
