The key/value table keeps its rows in blocks: a snapshot, a restore, or a table that grows no longer makes reads wait, and a server starts faster.
