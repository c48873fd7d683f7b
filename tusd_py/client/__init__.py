"""A client for any tus server, in three lines:

    import asyncio
    from tusd_py.client import upload
    print(asyncio.run(upload("film.mp4", "http://127.0.0.1:1080/files/")).url)

It goes on after lost connections and restarts of the server, waiting as long as `Options.patience` says. `Client` sends
many files over one session; with `bookmarks=Bookmarks.of_user()` a file goes on even after the program was killed.

What to do next is decided by pure code (course.py, answers.py, patience.py, plan.py); connection.py speaks HTTP,
sources.py reads, transfer.py brings them together.
"""

from tusd_py.client.bookmarks import Bookmarks
from tusd_py.client.client import Client, upload
from tusd_py.client.events import Began, Event, Moved, Report, Resumed, Waiting
from tusd_py.client.failures import (
    GaveUp,
    InUse,
    Misanswered,
    NotOffered,
    Refused,
    SendError,
    SourceChanged,
    SourceUnreadable,
)
from tusd_py.client.patience import Patience
from tusd_py.client.sending import Options, Uploaded

__all__ = [
    "Began",
    "Bookmarks",
    "Client",
    "Event",
    "GaveUp",
    "InUse",
    "Misanswered",
    "Moved",
    "NotOffered",
    "Options",
    "Patience",
    "Refused",
    "Report",
    "Resumed",
    "SendError",
    "SourceChanged",
    "SourceUnreadable",
    "Uploaded",
    "Waiting",
    "upload",
]
