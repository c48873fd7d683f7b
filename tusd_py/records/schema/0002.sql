-- Bytes that no record names, as a restore found them: the sweep spares them (operating/restore.py says why).

CREATE TABLE spared (
    id TEXT PRIMARY KEY
) WITHOUT ROWID;
