"""The guard that keeps tests and notebooks off the network."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

# 192.0.2.0/24 is reserved for documentation: nothing answers there.
ELSEWHERE = ("192.0.2.1", 80)


def test_connecting_elsewhere_is_refused():
    with socket.socket() as sock, pytest.raises(OSError, match="no network"):
        sock.connect(ELSEWHERE)
    with socket.socket() as sock, pytest.raises(OSError, match="no network"):
        sock.connect_ex(ELSEWHERE)


def test_a_datagram_is_refused():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with udp, pytest.raises(OSError, match="no network"):
        udp.sendto(b"x", ELSEWHERE)


def test_names_are_not_looked_up():
    with pytest.raises(OSError, match=r"no network.*example\.org"):
        socket.getaddrinfo("example.org", 443)


def test_asyncio_is_guarded():
    with pytest.raises(OSError, match="no network"):
        asyncio.run(asyncio.open_connection(*ELSEWHERE))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_still_works(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        socket.create_connection((host, port), timeout=5).close()
        thread.join(5)
        assert not thread.is_alive()


def test_a_python_started_with_the_folder_on_its_path_is_guarded():
    folder = Path(__file__).parent / "no_network"
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert "no network while the book runs" in result.stderr
