import socket

from serving.claims import HOST, choose_ports


def test_zeros_become_free_ports_all_different() -> None:
    first, fixed, second = choose_ports((0, 9, 0))
    assert fixed == 9
    assert len({first, fixed, second}) == 3
    for port in (first, second):
        with socket.socket() as probe:
            probe.bind((HOST, port))
