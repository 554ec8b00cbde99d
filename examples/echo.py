"""Echo: every message goes back to whoever sent it.

python examples/echo.py
streamconductor serve examples.echo:server --port 9000
"""

import streamconductor as sc

server = sc.Server()


# The cheap form: a plain function per message, and no task per connection. Who does not read what it gets is
# disconnected once Config.max_buffered is full: send_nowait raises Full.
@server.on_message("/")
def echo(connection: sc.Connection[None], message: str | bytes) -> None:
    connection.send_nowait(message)


# The same with a coroutine per connection. `send` waits while the peer reads slower than it writes, and reading
# pauses meanwhile, so TCP holds the peer back.
@server.route("/patient")
async def patient_echo(connection: sc.Connection[None]) -> None:
    async for message in connection:
        await connection.send(message)


if __name__ == "__main__":
    sc.run(server)
