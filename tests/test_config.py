"""Where settings come from, what they take, and that the manual tells the truth."""

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from tusd_py.config import FILE_VARIABLE, HEADINGS, Options, flag, load, manual, nearest, variable
from tusd_py.errors import ConfigError
from tusd_py.settings import KEYS
from tusd_py.spelling import Address, address, duration, size, spelt_duration, spelt_size

OPTION = re.compile(r"^# (?=[a-z_]+ = )", re.MULTILINE)


def refusal(flags: dict[str, str], file: Path | None = None, environ: dict[str, str] | None = None) -> str:
    """The sentence with which this configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load(flags, file, environ or {})
    return str(caught.value)


# Where values come from


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Each layer wins over the one below, and the origin of each value is known."""
    file = tmp_path / "tusd.toml"
    file.write_text('port = 1\nmax_size = "1MiB"\nlog_level = "debug"\n')
    environ = {"TUSD_PY_PORT": "2", "TUSD_PY_MAX_SIZE": "2MiB", "HOME": "/"}

    loaded = load({"port": "3"}, file, environ)

    assert (loaded.settings.port, loaded.settings.max_size, loaded.settings.log_level) == (3, 2 << 20, "debug")
    assert loaded.settings.host == "127.0.0.1"
    assert loaded.origins["port"] == "flag --port"
    assert loaded.origins["max_size"] == "environment TUSD_PY_MAX_SIZE"
    assert loaded.origins["log_level"] == f"file {file}"
    assert loaded.origins["host"] == "default"


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    """TUSD_PY_CONFIG names the file where --config does not."""
    (tmp_path / "one.toml").write_text("port = 1\n")
    (tmp_path / "two.toml").write_text("port = 2\n")
    environ = {FILE_VARIABLE: str(tmp_path / "one.toml")}
    assert load({}, None, environ).settings.port == 1
    assert load({}, tmp_path / "two.toml", environ).settings.port == 2


def test_settings_made_in_code_do_not_read_the_environment() -> None:
    """Options(...) is just what it says, and cannot be changed afterwards."""
    settings = Options(head_timeout=0.5, upload_dir=Path("/x"))
    assert (settings.head_timeout, settings.upload_dir) == (0.5, Path("/x"))
    with pytest.raises(ValidationError):
        settings.head_timeout = 1.0


# What is refused, and how


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    """In file, environment and flags alike."""
    file = tmp_path / "tusd.toml"
    file.write_text("max_siz = 1\n")
    assert refusal({}, file) == f"unknown key max_siz (file {file}); the nearest known one is max_size"
    assert "TUSD_PY_UPLOAD_DIRR (environment); the nearest known one is TUSD_PY_UPLOAD_DIR" in refusal(
        {}, None, {"TUSD_PY_UPLOAD_DIRR": "x"}
    )
    assert "--durabillity (flags); the nearest known one is --durability" in refusal({"durabillity": "os"})


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("processes", "0", "auto, or a number from 1 to 64"),
        ("durability", "never", "'finish', 'always' or 'os'"),
        ("max_size", "ten", "a size such as 64KiB, 10GiB, 5MB or a number of bytes"),
        ("max_size", "-1", "a size such as"),
        ("idle_timeout", "1 fortnight", "a period such as 500ms, 30s, 5m, 24h or 7d"),
        ("idle_timeout", "0", "greater than 0"),
        ("zero_copy", "perhaps", "true and false"),
        ("port", "70000", "less than or equal to 65535"),
        ("port", "http", "a whole number"),
        ("expired_status", "500", "410 or 404"),
        ("trusted_proxies", "10.0.0.1/8", "networks such as 10.0.0.0/8"),
        ("base_path", "/a/../b/", "a path of letters"),
        ("base_path", "/a//b/", "a path of letters"),
        ("public_url", "uploads.example.org", "the URL that clients see"),
        ("cors_allow_origins", "https://a.example/path", "origins such as https://example.org"),
        ("cors_allow_headers", "X-A,X B", "names of header fields"),
        ("ops_listen", "1081", "an address such as 127.0.0.1:1081"),
        ("host", "", "at least 1 character"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(key: str, value: str, allowed: str) -> None:
    """The sentence names key, value, origin and what is allowed."""
    sentence = refusal({key: value})
    assert sentence.startswith(f"{key} = ")
    assert f"(flag {flag(key)}): " in sentence
    assert allowed in sentence


def test_values_that_need_each_other() -> None:
    """A certificate needs its key, and credentials need origins by name."""
    assert "tls_key" in refusal({"tls_certificate": "chain.pem"})
    assert "'*'" in refusal({"cors_allow_credentials": "true"})
    assert load({"cors_allow_credentials": "true", "cors_allow_origins": "https://a.example"}, None, {})


def test_secrets_never_appear() -> None:
    """Neither in the listing, nor in repr, nor when one is refused."""
    token = "correct-horse-battery"
    loaded = load({"api_tokens": token}, None, {})
    assert loaded.settings.api_tokens == (token,)
    assert token not in repr(loaded)
    assert token not in repr(loaded.settings)
    assert token not in str(loaded.options.spelt())
    assert "correct" not in refusal({"api_tokens": "correct"})


def test_a_bad_file_is_one_sentence(tmp_path: Path) -> None:
    """A missing file, one that is not TOML, and tables are told apart."""
    assert "cannot read" in refusal({}, tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("port = ")
    assert "not valid TOML" in refusal({}, tmp_path / "bad.toml")
    (tmp_path / "table.toml").write_text("[server]\nport = 1\n")
    assert "unknown key server" in refusal({}, tmp_path / "table.toml")


# What is taken


@pytest.mark.parametrize(
    ("text", "number"),
    [("64KiB", 65536), ("10GiB", 10 << 30), ("5MB", 5_000_000), ("1.5 GiB", 3 << 29), ("7", 7), ("0", 0), ("9b", 9)],
)
def test_sizes(text: str, number: int) -> None:
    """Sizes take binary and decimal units, in any case, and plain numbers."""
    assert size(text) == size(text.lower()) == number
    assert size(spelt_size(number)) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("24h", 86400), ("7d", 604800), ("1.5h", 5400), ("0", 0), ("2", 2)],
)
def test_durations(text: str, seconds: float) -> None:
    """Periods take ms, s, m, h and d, and plain numbers of seconds."""
    assert duration(text) == seconds
    assert duration(spelt_duration(seconds)) == seconds


def test_lists_options_that_are_off_and_addresses() -> None:
    """Lists are separated by commas; off and none mean without."""
    settings = load(
        {
            "trusted_proxies": "10.0.0.0/8, ::1",
            "cors_allow_headers": "none",
            "expire_after": "off",
            "max_size": "None",
            "ops_listen": "[::1]:0",
            "base_path": "uploads",
        },
        None,
        {},
    ).settings
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert (settings.cors_allow_headers, settings.expire_after, settings.max_size) == ((), None, None)
    assert settings.ops_listen == Address("::1", 0)
    assert settings.base_path == "/uploads/"
    assert address("localhost:80") == ("localhost", 80)


def test_spelt_settings_can_be_read_again() -> None:
    """What `check` prints is what one would write."""
    settings = Options(max_size=5 << 30, keep_finished=36 * 3600, cors_allow_headers=("X-A", "X-B"), ops_listen=None)
    spelt = settings.spelt()
    assert load(spelt, None, {}).options == settings
    assert spelt["max_size"] == "5GiB"


def test_every_option_has_its_plain_value() -> None:
    """The values that the server is given are the options, under the same names and in the same order."""
    assert tuple(Options.model_fields) == KEYS
    options = Options()
    plain = options.settled()
    assert [key for key in KEYS if key != "api_tokens" and getattr(plain, key) != getattr(options, key)] == []


@pytest.mark.parametrize(("text", "count"), [("auto", None), ("1", 1), ("16", 16)])
def test_processes(text: str, count: int | None) -> None:
    """A number, or as many as there are cores; `check` prints what one would write."""
    options = load({"processes": text}, None, {}).options
    assert options.processes == count
    assert options.spelt()["processes"] == text


def test_names() -> None:
    """A key has one flag and one variable."""
    assert (flag("upload_dir"), variable("upload_dir")) == ("--upload-dir", "TUSD_PY_UPLOAD_DIR")
    assert nearest("prot", list(Options.model_fields)) == "port"


# The manual


def test_the_manual_holds_every_option_at_its_default() -> None:
    """Uncommented as a whole, config/tusd.toml says just what the code says, in the same order."""
    values = tomllib.loads(OPTION.sub("", manual()))
    assert list(values) == list(Options.model_fields)
    assert Options.model_validate(values) == Options()


def test_the_manual_as_it_is_changes_nothing() -> None:
    """All options in it are commented."""
    assert tomllib.loads(manual()) == {}


def test_the_manual_has_the_headings_of_the_help() -> None:
    """Each heading opens with the option that opens its group on the command line."""
    sections = re.split(r"^# ---- (.+) ----$", manual(), flags=re.MULTILINE)[1:]
    opening = {
        heading: next(iter(tomllib.loads(OPTION.sub("", body))))
        for heading, body in zip(sections[::2], sections[1::2], strict=True)
    }
    assert opening == HEADINGS


def test_the_manual_explains_every_option() -> None:
    """An option, or the run of options it belongs to, follows a line of prose."""
    paragraphs = manual().split("\n\n")
    unexplained = [text for text in paragraphs if re.match(r"# [a-z_]+ = ", text.strip())]
    assert unexplained == []
