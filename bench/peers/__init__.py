"""The servers that are compared, a file each."""

from bench.peers.base import Peer
from bench.peers.nginx import Nginx
from bench.peers.ours import OURS, OURS_TWICE, OURS_WITHOUT_SYNC
from bench.peers.rustus import Rustus
from bench.peers.tus_node import TusNode
from bench.peers.tusd import Tusd
from bench.peers.tuspyserver import Tuspyserver

__all__ = ["ALL", "OURS", "OURS_TWICE", "OURS_WITHOUT_SYNC", "Peer"]

ALL: tuple[Peer, ...] = (OURS, OURS_TWICE, OURS_WITHOUT_SYNC, Tusd(), Rustus(), TusNode(), Tuspyserver(), Nginx())
