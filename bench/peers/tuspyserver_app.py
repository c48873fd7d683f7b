"""tuspyserver at its defaults: python tuspyserver_app.py PORT FOLDER, run by the interpreter of its own environment."""

import sys

# They are in the peer's own environment only, where no type checker looks.
import uvicorn  # type: ignore[import-not-found]
from fastapi import FastAPI  # type: ignore[import-not-found]
from tuspyserver import create_tus_router  # type: ignore[import-not-found]

port, folder = sys.argv[1:]
app = FastAPI()
app.include_router(create_tus_router(prefix="files", files_dir=folder))
uvicorn.run(app, host="127.0.0.1", port=int(port))
