"""Receives the load client's connections · hands messages back, or to every subscriber · owns this project's
side of the comparison.

Prints its port as the first line.
"""

import uvloop

import streamconductor as sc


async def main() -> None:
    server = sc.Server(sc.Config(port=0, threads=1))

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None]:
        return sc.Accept(subscribe=["bench"] if request.path == "/fanout" else [])

    server.push("/fanout")

    @server.on_message("/control")
    def publish(connection: sc.Connection[None], message: str | bytes) -> None:
        server.publish_nowait("bench", message)

    @server.route("/echo")
    async def echo(connection: sc.Connection[None]) -> None:
        async for message in connection:
            await connection.send(message)

    @server.on_message("/echo-callback")
    def answer(connection: sc.Connection[None], message: str | bytes) -> None:
        connection.send_nowait(message)

    async with server:
        print(server.port, flush=True)
        await server.serve_forever()


uvloop.run(main())
