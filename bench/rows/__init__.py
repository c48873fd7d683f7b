"""The measures, in the order of the table."""

from bench.rows import bulk, concat, download, growth, many, small, stalled
from bench.rows.base import Row

ALL: tuple[Row, ...] = (*bulk.ROWS, *small.ROWS, *stalled.ROWS, *concat.ROWS, *download.ROWS, *growth.ROWS, *many.ROWS)
