"""A tiny server for end-to-end tests, in a process of its own: it answers every POST, and appends
to a file what it was asked, before it answers.

    python server.py LOG [seconds]    prints its port
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path


async def serve(log: Path, seconds: float) -> None:
    written = open(log, "a", buffering=1)  # noqa: ASYNC230, SIM115

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = head.decode().lower().split("\r\n")
                length = next(
                    int(f.split(":")[1]) for f in fields if f.startswith("content-length")
                )
                body = json.loads(await reader.readexactly(length))
                text = body["messages"][0]["content"]
                written.write(f"asked {text}\n")
                await asyncio.sleep(seconds)
                status = 200 if body["model"] != "forbidden" else 401
                answer = {
                    "echo": text,
                    "key": "authorization" in str(fields),
                    "usage": {"prompt_tokens": len(text), "completion_tokens": 7},
                }
                if status == 401:
                    answer = {"error": {"message": f"wrong key: {head.decode()}"}}
                data = json.dumps(answer).encode()
                writer.write(
                    b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(data)) + data
                )
                await writer.drain()
                written.write(f"answered {text}\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
