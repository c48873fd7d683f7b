-- Times are seconds since the epoch, lengths bytes. There is no offset here: the kept bytes are its judge (law 1).

CREATE TABLE uploads (
    id       TEXT PRIMARY KEY,
    length   INTEGER,
    created  REAL NOT NULL,
    metadata TEXT,
    kind     TEXT NOT NULL,
    concat   TEXT,
    owner    TEXT NOT NULL,
    state    TEXT NOT NULL,
    ended    REAL,
    handle   TEXT NOT NULL,
    recipe   BLOB               -- of a final upload: digest of its owner and its ordered partials (T107)
) WITHOUT ROWID;

-- The only index that a small creation pays for: scans, counts and listings all walk it.
CREATE INDEX uploads_by_state ON uploads (state, created, id);

CREATE INDEX finals_by_recipe ON uploads (recipe, created) WHERE recipe IS NOT NULL;

-- What a final upload is made of, in order. A partial may be named twice, and may be gone by now (T106).
CREATE TABLE parts (
    final_id   TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    partial_id TEXT NOT NULL,
    PRIMARY KEY (final_id, position)
) WITHOUT ROWID;

CREATE INDEX parts_by_partial ON parts (partial_id);
