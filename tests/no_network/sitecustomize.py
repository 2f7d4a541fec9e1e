"""Python imports this at start-up where the folder is on PYTHONPATH: from then on the
process reaches no host but itself. The notebook test puts it there for its kernels,
so that a chapter that quietly downloads something fails.
"""

import ipaddress
import socket

NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost"}


def _local(host: object) -> bool:
    if host is None:
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if text in NAMES:
        return True
    try:
        address = ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(target: object) -> None:
    raise OSError(f"no network while the book runs: {target!r} was asked for")


def _guard_address(family: int, address: object) -> None:
    internet = family in (socket.AF_INET, socket.AF_INET6)  # not a Unix socket
    if internet and isinstance(address, tuple) and not _local(address[0]):
        _refuse(address)


def _guarded_method(name, place):
    original = getattr(socket.socket, name)

    def method(self, *args):
        if args:
            _guard_address(self.family, args[place])
        return original(self, *args)

    method.__name__ = name
    return method


def _guarded_lookup(name):
    original = getattr(socket, name)

    def lookup(host, *args, **kwargs):
        if not _local(host) and host != socket.gethostname():
            _refuse(host)
        return original(host, *args, **kwargs)

    lookup.__name__ = name
    return lookup


for _name, _place in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
    setattr(socket.socket, _name, _guarded_method(_name, _place))
for _name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, _name, _guarded_lookup(_name))
