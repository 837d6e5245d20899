"""A door before the emulator's WebSocket gateway.

ministack answers a handshake without the subprotocol that `$connect` named in its response. Clients that offered one
then close the socket. The door adds the first one that the client offered. It passes everything else on as it is.
"""

import asyncio
import re
import threading

HEAD_BYTES = 65536
OFFERED = re.compile(rb"(?im)^sec-websocket-protocol: *([^,\r]+)")


async def copy(reader, writer):
    try:
        while data := await reader.read(HEAD_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class Door:
    """A running door on a free port."""

    def __init__(self, port):
        self.upstream = port
        self.loop = asyncio.new_event_loop()
        server = asyncio.start_server(self.serve, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.server = self.loop.run_until_complete(server)
        self.host = "127.0.0.1:{}".format(self.server.sockets[0].getsockname()[1])
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            from_gateway, to_gateway = await asyncio.open_connection("127.0.0.1", self.upstream, limit=HEAD_BYTES)
            to_gateway.write(head)
            answer = await from_gateway.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        offered = OFFERED.search(head)
        if offered and b" 101 " in answer.partition(b"\r\n")[0] and not OFFERED.search(answer):
            answer = answer[:-2] + b"Sec-WebSocket-Protocol: " + offered[1].strip() + b"\r\n\r\n"
        writer.write(answer)
        await asyncio.gather(copy(reader, to_gateway), copy(from_gateway, writer))
