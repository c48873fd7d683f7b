"""Upload a file by tuspy: pip install tuspy, then

    python upload.py film.mp4 http://127.0.0.1:1080/files/

What was interrupted goes on where it stopped when the same command is run again in the same folder. (`tusd-py send`
and the library tusd_py.client do more; this is for programs that use tuspy already.)
"""

from __future__ import annotations

import sys
from pathlib import Path

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.storage.filestorage import FileStorage

CHUNK = 8 << 20  # bytes; tuspy reads a chunk into memory, and sends it again whole after a cut


def main(path: Path, endpoint: str) -> None:
    remembered = FileStorage("uploads.json")
    key = f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns} {endpoint}"  # a changed file starts again
    with path.open("rb") as stream:
        options = {"file_stream": stream, "chunk_size": CHUNK, "retries": 30, "retry_delay": 1}
        client = TusClient(endpoint)
        try:
            uploader = client.uploader(url=remembered.get_item(key), **options)
        except TusCommunicationError as error:
            if error.status_code not in {404, 410}:  # the server is away, but may still have it
                raise
            uploader = client.uploader(**options)
        if uploader.url is None:
            uploader.metadata = {"filename": path.name}
            uploader.set_url(uploader.create_url())
            remembered.set_item(key, uploader.url)
        uploader.upload()
    remembered.remove_item(key)
    print(uploader.url)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: upload.py FILE [URL]")
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:1080/files/")
