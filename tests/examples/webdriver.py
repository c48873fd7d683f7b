"""Chromium without a window, driven by its own chromedriver: the few commands of WebDriver that these tests need."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FLAGS = (
    "--headless",
    "--no-sandbox",  # else it would need privileges of its own in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,720",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name that the standard gives to references
STARTED = re.compile(r"started successfully on port (\d+)")


class Browser:
    """A browser with one page. Use it as a context; its profile in `folder` must be new."""

    def __init__(self, folder: Path) -> None:
        driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
        missing = "this test needs Chromium; on Debian: apt-get install chromium chromium-driver"
        assert driver is not None and chromium is not None, missing  # noqa: PT018  # one sentence for both
        self._log = (folder / "chromedriver.log").open("w")
        self._process = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=folder
        )
        self._port = self._learn_port()
        options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"]}
        always = {"browserName": "chrome", "goog:chromeOptions": options}
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": always}})
        self._session = f"/session/{made['sessionId']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._ask("DELETE", self._session)
        finally:
            self._process.terminate()
            self._process.communicate()
            self._log.close()

    def go(self, url: str) -> None:
        self._do("POST", "/url", {"url": url})

    def reload(self) -> None:
        self._do("POST", "/refresh", {})

    def script(self, body: str, *arguments: object) -> Any:
        """What this function body returns, in the page."""
        return self._do("POST", "/execute/sync", {"script": body, "args": list(arguments)})

    def promise(self, body: str, *arguments: object) -> Any:
        """What the promise brings that this function body returns, or its error as a string."""
        settle = f"const done = arguments[arguments.length - 1]; (function () {{ {body} }})"
        settle += ".apply(null, arguments).then(done, (error) => done(String(error)))"
        return self._do("POST", "/execute/async", {"script": settle, "args": list(arguments)})

    def choose(self, selector: str, file: Path) -> None:
        """Give this file to an input for files, as its dialogue would."""
        found = self._do("POST", "/element", {"using": "css selector", "value": selector})
        self._do("POST", f"/element/{found[ELEMENT]}/value", {"text": str(file)})

    def slow_down(self, rate: int) -> None:
        """Send and receive so many bytes a second at most."""
        conditions = {"offline": False, "latency": 1, "upload_throughput": rate, "download_throughput": rate}
        self._do("POST", "/chromium/network_conditions", {"network_conditions": conditions})

    def full_speed(self) -> None:
        self._do("DELETE", "/chromium/network_conditions")

    def picture(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self._do("GET", "/screenshot"))

    def _learn_port(self) -> int:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := STARTED.search(line):
                return int(found[1])
        raise AssertionError("chromedriver did not start")

    def _do(self, method: str, path: str, value: dict[str, object] | None = None) -> Any:
        return self._ask(method, self._session + path, value)

    def _ask(self, method: str, path: str, value: dict[str, object] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, None if value is None else json.dumps(value))
            answer = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer
