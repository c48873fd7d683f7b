"""From settings to the values that the parts of the server decide by."""

from __future__ import annotations

import ssl

from tusd_py.errors import ConfigError
from tusd_py.protocol.downloads import Offer
from tusd_py.protocol.limits import Limits
from tusd_py.settings import Settings
from tusd_py.storage.base import Joinable, Rewindable, Storage
from tusd_py.web.cors import Cors
from tusd_py.web.edge import ConnectionLimits


def logs_requests(settings: Settings) -> bool:
    return settings.log_level in ("debug", "info")


def limits_of(settings: Settings, storage: Storage) -> Limits:
    """Tus-Extension is what the storage can do and what is switched on (T128)."""
    switches = {
        "creation": True,
        "creation-with-upload": True,
        "creation-defer-length": settings.creation_defer_length,
        "expiration": settings.expire_after is not None,
        "checksum": settings.checksum and isinstance(storage, Rewindable),
        "termination": settings.termination,
        "concatenation": settings.concatenation and isinstance(storage, Joinable),
        "concatenation-unfinished": settings.concatenation
        and settings.concatenation_unfinished
        and isinstance(storage, Joinable),
    }
    return Limits(
        tuple(name for name, on in switches.items() if on),
        base_path=settings.base_path,
        max_size=settings.max_size,
        max_metadata=settings.max_metadata,
        max_concat=settings.max_concat,
        max_partials=settings.max_partials,
        expire_after=settings.expire_after,
        expired_status=settings.expired_status,
        downloads=settings.downloads,
    )


def offer_of(settings: Settings) -> Offer:
    return Offer(
        types=frozenset(settings.download_types), sender=settings.download_sender, prefix=settings.download_prefix
    )


def cors_of(settings: Settings) -> Cors:
    return Cors(
        enabled=settings.cors,
        origins=settings.cors_allow_origins,
        credentials=settings.cors_allow_credentials,
        allow=settings.cors_allow_headers,
        expose=settings.cors_expose_headers,
        max_age=settings.cors_max_age,
    )


def connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        head_timeout=settings.head_timeout,
        keep_alive=settings.keep_alive,
        connections=settings.max_connections,
        per_client=settings.max_connections_per_client,
        longest_field=max(settings.max_metadata, settings.max_concat),
    )


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 and up, with the certificate of the settings; None without one."""
    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificate(context, settings)
    return context


def load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Also into a context that is in use: new connections get the new certificate. Raises ConfigError and has then left
    the context as it was: OpenSSL forgets the old key when it meets a chain of another, so another context tries."""
    assert settings.tls_certificate is not None
    assert settings.tls_key is not None
    try:
        for trial in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            trial.load_cert_chain(settings.tls_certificate, settings.tls_key, password=_no_password)
    except OSError as error:
        raise ConfigError(
            f"tls_certificate {settings.tls_certificate} and tls_key {settings.tls_key} cannot be used: {error}"
        ) from error


def _no_password() -> str:
    return ""  # an encrypted key is refused; without this OpenSSL would ask at the terminal
