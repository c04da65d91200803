-- Holds up all relays of the database until the transaction ends; the second statement of a rebase. Appending goes on.
lock table scalekit.lane, scalekit.tick in exclusive mode
