import asyncio
import socket

from serving.claims import HOST, choose_ports, claim_port


def test_answers_on_the_claimed_port_are_sent_at_once() -> None:
    async def ask() -> int:
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            answered.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with claim_port(0) as listener:
            async with await asyncio.start_server(answer, sock=listener):
                _, client = await asyncio.open_connection(*listener.getsockname())
                delay_is_off = await asyncio.wait_for(answered, 10)
                client.close()
                await client.wait_closed()
        return delay_is_off

    assert asyncio.run(ask())


def test_zeros_become_free_ports_all_different() -> None:
    first, fixed, second = choose_ports((0, 9, 0))
    assert fixed == 9
    assert len({first, fixed, second}) == 3
    for port in (first, second):
        with socket.socket() as probe:
            probe.bind((HOST, port))
