"""The page docs/performance.md: a frame around the report of a run."""

from __future__ import annotations

FRAME = """# Performance

This server beside its peers, on one machine, measured by one command: with one process, and as `tusd-py x2` with two.
rustus and tusd use every core by themselves. The figures below are those of the run that is named with them; they are
compared with each other only, since another machine gives others.

{report}
## How it is measured

- `make bench` starts this server with its default settings but for `--processes`, and its default log (into a file),
  and the peers that it
  finds or can install: rustus by cargo (or `RUSTUS_BINARY`), `@tus/server` from npm, tuspyserver from PyPI, tusd where
  `TUSD_BINARY` names it; for downloads nginx too, where it is installed, with `sendfile` and `tcp_nopush`. Peers run at
  their defaults, except that rustus's limit of 256 KiB for a body is raised.
- Files lie on tmpfs, at most 256 MiB for a measure (the two halves and the whole for concatenation), and are deleted
  after each, so that the same pages are used again: fresh pages cost more than a server does.
- All servers of a row run at once and are measured in turn, round by round, in an order that moves on every round. One
  round warms up and is not counted. A figure is the median of the rounds; `results.json` holds every sample.
- CPU is what the kernel counts for the server's whole process tree, user and system, without the client.
- A PATCH is sent from one prepared buffer by a raw socket. Small requests come from a client in C
  (`bench/client/load.c`) over keep-alive connections; a creation carries a whole upload of 4 KiB, a HEAD looks at an
  upload of which half has come. Creations are counted until they are answered, whatever a server has synced by then:
  this server has synced data and record, the peers sync nothing.
- The status of every answer is checked. After each measure HEAD must tell as many bytes as were sent and files of that
  size must lie on the disk; a server that fails is shown as failed, with the reason.
- A stalled PATCH has sent 64 KiB of 1 MiB and falls silent. Its memory is the growth of resident memory from before the
  connections are opened until it stands still, divided by their number, on a server that has just been started.
- "PATCH through a stalled one" runs from the first byte of a second PATCH of 16 bytes to its 204, asked again every
  50 ms while the server answers 423, for at most 10 s.
- "PATCH through one in another process" is the same where /proc shows that two processes have the two connections; for
  a server with one process it is the same process.
- Memory at rest is that of a server that has just been started, once it stands still, with pages that processes share
  divided among them. A further process is one beside the first, which accepts connections and watches the others.
- `cp` copies as many bytes as the final upload has, on the same file system, in the same round.

## What is not measured

- The network: client and server share the machine and its cores, so that a rate is also bounded by the client; CPU
  seconds are the better figure.
- More than two processes of one server, TLS, checksums, chunked bodies, object storage.
- Disks: on tmpfs a sync costs nothing. `--disk FOLDER` adds the first rows on a real disk.
- Latency under a rate that a server can bear; a rate here is what saturates it.
"""

EMPTY = "No run is recorded here yet: `python -m bench --save-docs` writes this page.\n"


def page(report: str) -> str:
    """The whole page around a report in Markdown."""
    return FRAME.format(report=f"![Medians as bars](performance.svg)\n\n{report}" if report else EMPTY)
