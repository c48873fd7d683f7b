"""The same behaviour whatever the settings under the bonnet: ways of the bytes, event loops, durability."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance import test_checksum, test_concatenation, test_concurrency, test_malformed, test_patch
from tests.acceptance.wire import MIB
from tests.conftest import StartServer

VARIANTS = [
    ("--no-zero-copy",),
    ("--event-loop", "asyncio"),
    ("--event-loop", "asyncio", "--no-zero-copy"),
    ("--durability", "always"),
    ("--durability", "os"),
    ("--byte-threads", "1", "--sync-threads", "1"),
]
CHECKS: list[tuple[Callable[..., None], tuple[object, ...]]] = [
    (test_patch.test_bytes_are_added, (1000,)),
    (test_patch.test_bytes_are_added, (3 * MIB + 17,)),
    (test_patch.test_a_chunked_body_is_added, (MIB,)),
    (test_patch.test_what_arrived_before_a_drop_is_kept, (700_000, "reset")),
    (test_patch.test_a_client_that_leaves_with_its_last_byte, (MIB,)),
    (test_patch.test_large_and_small_requests_on_one_connection, ()),
    (test_malformed.test_requests_behind_a_body, (MIB,)),
    (test_malformed.test_a_request_that_is_cut_behind_a_body, (17,)),
    (test_malformed.test_a_trailer_never_reaches_the_next_request, (b"Upload-Checksum: sha1 AAAA\r\n",)),
    (test_concurrency.test_a_newcomer_takes_over, (4 * MIB,)),
    (test_concurrency.test_an_old_client_that_goes_on_sending, (4 * MIB,)),
    (test_concurrency.test_many_take_overs, ()),
    (test_concurrency.test_head_does_not_disturb_a_live_writer, (5 * MIB,)),
    (test_concurrency.test_head_ends_a_silent_writer, (4 * MIB,)),
    (test_concurrency.test_one_of_many_wins, (2 * MIB,)),
    (test_concurrency.test_many_uploads_side_by_side, ()),
    (test_checksum.test_a_mismatch, ("sha1", 3 * MIB + 5)),
    (test_checksum.test_a_chunk_that_breaks_off_is_discarded, (3 * MIB, "reset")),
    (test_concatenation.test_a_final_upload, ((MIB, 3 * MIB + 1),)),
]
# They watch a body arrive by HEAD, which with `always` tells only what is on the disk already (law 1a).
WATCHING = {
    test_malformed.test_a_request_that_is_cut_behind_a_body,
    test_concurrency.test_head_does_not_disturb_a_live_writer,
    test_concurrency.test_head_ends_a_silent_writer,
}
CASES = [
    pytest.param(options, check, arguments, id=f"{' '.join(options)} {check.__name__}")
    for options in VARIANTS
    for check, arguments in CHECKS
    if not (options == ("--durability", "always") and check in WATCHING)
]


@pytest.mark.slow
@pytest.mark.parametrize(("options", "check", "arguments"), CASES)
def test_the_same(
    server_with: StartServer, options: tuple[str, ...], check: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    """What holds by default holds with this setting, too."""
    check(server_with(*options), *arguments)
