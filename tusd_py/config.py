"""Options: defaults < the file given by --config < TUSD_PY_… in the environment < flags.

Keys are flat and the same in all places: `upload_dir` in the file is TUSD_PY_UPLOAD_DIR and --upload-dir. What each
means and why one would change it stands in config/tusd.toml, the manual, which a test compares with this file.
Sizes are bytes, periods are seconds. A wrong key or value is a ConfigError of one sentence; secrets are never shown.
"""

from __future__ import annotations

import difflib
import importlib.resources
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tusd_py import spelling
from tusd_py.errors import ConfigError
from tusd_py.settings import KEYS, Settings
from tusd_py.spelling import Address

PREFIX = "TUSD_PY_"
FILE_VARIABLE = PREFIX + "CONFIG"  # where the file is; not an option itself


@dataclass(frozen=True, slots=True)
class Metavar:
    """What the command line's help calls a value of this type."""

    name: str


_AS_SIZE = (PlainSerializer(spelling.spelt_size, return_type=str, when_used="json"), Metavar("SIZE"))
_AS_PERIOD = (PlainSerializer(spelling.spelt_duration, return_type=str, when_used="json"), Metavar("PERIOD"))
_AS_ADDRESS = (PlainSerializer(spelling.spelt_address, return_type=str, when_used="json"), Metavar("HOST:PORT"))
_LIST = BeforeValidator(spelling.listed)
_NUMBER = BeforeValidator(spelling.number)

Size = Annotated[int, BeforeValidator(spelling.size), *_AS_SIZE]
MaybeSize = Annotated[int | None, BeforeValidator(spelling.or_nothing(spelling.size)), *_AS_SIZE]
Period = Annotated[float, BeforeValidator(spelling.duration), *_AS_PERIOD]
Timeout = Annotated[float, BeforeValidator(spelling.duration), Field(gt=0), *_AS_PERIOD]
MaybePeriod = Annotated[float | None, BeforeValidator(spelling.or_nothing(spelling.duration)), *_AS_PERIOD]
Count = Annotated[int, _NUMBER, Field(ge=0), Metavar("N")]
Threads = Annotated[int, _NUMBER, Field(ge=1, le=256), Metavar("N")]
Processes = Annotated[
    int | None,
    BeforeValidator(spelling.processes),
    PlainSerializer(spelling.spelt_processes, return_type=str, when_used="json"),
    Metavar("N"),
]
Port = Annotated[int, _NUMBER, Field(ge=0, le=65535), Metavar("PORT")]
MaybePath = Annotated[Path | None, BeforeValidator(spelling.or_nothing(str)), Metavar("PATH")]
MaybeUrl = Annotated[str | None, BeforeValidator(spelling.or_nothing(spelling.public_url)), Metavar("URL")]
MaybeAddress = Annotated[Address | None, BeforeValidator(spelling.or_nothing(spelling.address)), *_AS_ADDRESS]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(spelling.network)]
Origin = Annotated[str, BeforeValidator(spelling.origin)]
HeaderName = Annotated[str, BeforeValidator(spelling.header)]
MediaType = Annotated[str, BeforeValidator(spelling.media_type)]
Token = Annotated[SecretStr, BeforeValidator(spelling.token)]

# Nothing that a browser would run
SHOWN_TYPES = ("image/gif", "image/jpeg", "image/png", "image/webp", "audio/*", "video/*", "application/pdf")

HEADINGS = {  # of the manual and of the help, each with the first option below it
    "Where it listens": "host",
    "Where the bytes live": "upload_dir",
    "What clients may do": "max_size",
    "How long uploads are kept": "expire_after",
    "How patient it is": "head_timeout",
    "Browsers": "cors",
    "Running it": "processes",
}


def _option(default: object, help: str) -> Any:
    return Field(default=default, description=help)


class Options(BaseSettings):
    """Every option with how it is read, in the order of the manual."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: Annotated[str, Field(min_length=1), Metavar("HOST")] = _option("127.0.0.1", "address to listen on")
    port: Port = _option(1080, "port to listen on; 0 takes a free one")
    unix_socket: MaybePath = _option(None, "listen on this Unix socket instead of host and port")
    base_path: Annotated[str, BeforeValidator(spelling.base_path), Metavar("PATH")] = _option(
        "/files/", "path under which uploads live"
    )
    public_url: MaybeUrl = _option(None, "scheme and host that clients see, for the URLs of uploads")
    path_only_location: bool = _option(False, "answer with paths, not whole URLs")
    trusted_proxies: Annotated[tuple[Network, ...], _LIST, Metavar("NETWORK,…")] = _option(
        (), "proxies whose forwarding headers are believed"
    )
    tls_certificate: MaybePath = _option(None, "certificate chain (PEM) to serve HTTPS with")
    tls_key: MaybePath = _option(None, "private key (PEM) of the certificate")

    upload_dir: Annotated[Path, Metavar("DIR")] = _option(Path("./data"), "folder for uploads and database")
    durability: Literal["finish", "always", "os"] = _option("finish", "when bytes are synced to the disk")
    free_space_reserve: Size = _option("64MiB", "space on the disk that creations leave free")
    zero_copy: bool = _option(True, "move bytes from the socket to the file inside the kernel")
    byte_threads: Threads = _option(8, "threads that move bytes")
    sync_threads: Threads = _option(4, "threads that sync large files")

    max_size: MaybeSize = _option(None, "largest upload")
    max_metadata: Size = _option("16KiB", "longest Upload-Metadata field")
    max_concat: Size = _option("64KiB", "longest Upload-Concat field")
    max_partials: Count = _option(1000, "most partial uploads in one final upload")
    downloads: bool = _option(True, "let finished uploads be fetched by GET")
    download_types: Annotated[tuple[MediaType, ...], _LIST, Metavar("TYPE,…")] = _option(
        SHOWN_TYPES, "media types that are told as the client named them"
    )
    download_sender: Literal["server", "x-accel-redirect", "x-sendfile"] = _option(
        "server", "who sends the bytes: this server, or the proxy in front of it"
    )
    download_prefix: Annotated[str, BeforeValidator(spelling.base_path), Metavar("PATH")] = _option(
        "/downloads/", "where that proxy finds the files"
    )
    creation_defer_length: bool = _option(True, "uploads whose length is told later")
    termination: bool = _option(True, "let clients delete uploads")
    checksum: bool = _option(True, "verify checksums of chunks")
    concatenation: bool = _option(True, "uploads made from partial uploads")
    concatenation_unfinished: bool = _option(False, "concatenate before all partial uploads are finished")

    expire_after: MaybePeriod = _option("7d", "remove unfinished uploads that were silent for so long")
    expired_status: Annotated[Literal[410, 404], _NUMBER] = _option(410, "answer for an expired upload")
    keep_finished: MaybePeriod = _option(None, "remove finished uploads after so long")
    sweep_interval: Timeout = _option("60s", "pause between two rounds of cleaning up")
    tombstones: Period = _option("7d", "how long expired and failed uploads are remembered")

    head_timeout: Timeout = _option("10s", "longest wait for the head of a request")
    idle_timeout: Timeout = _option("60s", "longest silence in the middle of a body")
    keep_alive: Period = _option("75s", "how long an idle connection stays open")
    shutdown_timeout: Timeout = _option("10s", "how long stopping may take")
    finish_wait: Period = _option("25s", "how long a request waits for an upload that is being finished")
    minimum_rate: Size = _option(0, "bytes a second below which a body is ended; 0 is off")
    max_connections: Annotated[int, _NUMBER, Field(ge=1), Metavar("N")] = _option(10000, "most connections in all")
    max_connections_per_client: Count = _option(0, "most connections from one address; 0 is off")

    cors: bool = _option(True, "answer browsers of other origins")
    cors_allow_origins: Annotated[tuple[Origin, ...], _LIST, Metavar("ORIGIN,…")] = _option(
        ("*",), "origins whose pages may upload"
    )
    cors_allow_credentials: bool = _option(False, "let browsers send cookies")
    cors_allow_headers: Annotated[tuple[HeaderName, ...], _LIST, Metavar("NAME,…")] = _option(
        (), "more header fields that pages may send"
    )
    cors_expose_headers: Annotated[tuple[HeaderName, ...], _LIST, Metavar("NAME,…")] = _option(
        (), "more header fields that pages may read"
    )
    cors_max_age: Period = _option("1d", "how long browsers remember a preflight")

    processes: Processes = _option("auto", "processes that serve; auto is one for each usable core")
    ops_listen: MaybeAddress = _option(Address("127.0.0.1", 1081), "private port for metrics, readiness and API")
    api_tokens: Annotated[tuple[Token, ...], _LIST, Metavar("TOKEN,…")] = _option((), "bearer tokens of the API")
    log_format: Literal["text", "json"] = _option("text", "how a line of the log is written")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(spelling.lowered)] = _option(
        "info", "least level that is logged"
    )
    event_loop: Literal["auto", "uvloop", "asyncio"] = _option("auto", "event loop; auto is uvloop where installed")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options made in code are just what they say; only `load` looks around, since it must tell the origins."""
        return (init_settings,)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key need each other; give both or neither")
        if self.cors_allow_credentials and "*" in self.cors_allow_origins:
            raise ValueError("cors_allow_credentials needs the origins by name; '*' in cors_allow_origins is refused")
        return self

    def spelt(self) -> dict[str, str]:
        """Every value as one would write it in the environment; secrets masked."""
        values = self.model_dump(mode="json")
        return {key: _spelt(value) for key, value in values.items()}

    def settled(self) -> Settings:
        """The plain values; secrets are readable there."""
        values = {key: getattr(self, key) for key in KEYS}
        return Settings(**values | {"api_tokens": tuple(token.get_secret_value() for token in self.api_tokens)})


@dataclass(frozen=True, slots=True)
class Loaded:
    """The options, and where each came from: "default", "file PATH", "environment TUSD_PY_X" or "flag --x"."""

    options: Options
    origins: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        return self.options.settled()


def load(
    flags: Mapping[str, str] | None = None,
    config_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Loaded:
    """Put defaults, file, environment and flags together. Raises ConfigError."""
    if config_file is None and environ.get(FILE_VARIABLE):
        config_file = Path(environ[FILE_VARIABLE])
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Options.model_fields, "default")
    for layer in (_from_file(config_file), _from_environment(environ), _from_flags(flags or {})):
        for key, (value, origin) in layer.items():
            values[key], origins[key] = value, origin
    try:
        return Loaded(Options(**values), origins)
    except ValidationError as error:
        raise ConfigError(_sentence(error.errors(include_url=False)[0], origins)) from None  # it quotes its input


def flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def variable(key: str) -> str:
    return PREFIX + key.upper()


def nearest(name: str, known: list[str]) -> str:
    """The known name that is most like `name`."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0)[0]


def manual() -> str:
    """config/tusd.toml, from the checkout or from the wheel."""
    return importlib.resources.files("tusd_py.manual").joinpath("tusd.toml").read_text("utf-8")


Layer = dict[str, tuple[object, str]]


def _from_file(path: Path | None) -> Layer:
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from error
    for key in values:
        _insist(key, f"file {path}", list(Options.model_fields))
    return {key: (value, f"file {path}") for key, value in values.items()}


def _from_environment(environ: Mapping[str, str]) -> Layer:
    known = {variable(key): key for key in Options.model_fields}
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name != FILE_VARIABLE}
    for name in given:
        _insist(name, "environment", [*known, FILE_VARIABLE])
    return {known[name]: (value, f"environment {name}") for name, value in given.items()}


def _from_flags(flags: Mapping[str, str]) -> Layer:
    known = [flag(key) for key in Options.model_fields]
    for key in flags:
        _insist(flag(key), "flags", known)
    return {key: (value, f"flag {flag(key)}") for key, value in flags.items()}


def _insist(name: str, origin: str, known: list[str]) -> None:
    if name not in known:
        raise ConfigError(f"unknown key {name} ({origin}); the nearest known one is {nearest(name, known)}")


def _sentence(error: ErrorDetails, origins: Mapping[str, str]) -> str:
    allowed = error["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    if not error["loc"]:
        return allowed
    key = str(error["loc"][0])
    allowed = _ALLOWED.get(error["type"], allowed)
    value = "" if key == "api_tokens" else f" = {error['input']!r}"
    return f"{key}{value} ({origins[key]}): {allowed}"


_ALLOWED = {
    "bool_parsing": "allowed are true and false",
    "bool_type": "allowed are true and false",
    "int_parsing": "allowed is a whole number",
    "int_type": "allowed is a whole number",
    "tuple_type": "allowed is a list",
}


def _spelt(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
