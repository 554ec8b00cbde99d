// Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of Node's `ws`
// in the comparison. Its form is the callback; a fan-out is a loop over the clients, as its documentation has it;
// bufferutil, which it names for speed, is installed.

"use strict";

const { createServer } = require("node:http");
const { WebSocketServer } = require("ws");

const terms = { serverNoContextTakeover: true, clientNoContextTakeover: true };
const perMessageDeflate = process.argv.includes("--compression") && terms;
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate });
const subscribers = new Set();

function echo(socket) {
  socket.on("message", (message, binary) => socket.send(message, { binary }));
}

function fanOut(socket) {
  subscribers.add(socket);
  socket.on("close", () => subscribers.delete(socket));
}

function control(socket) {
  socket.on("message", (message, binary) => {
    for (const subscriber of subscribers) subscriber.send(message, { binary });
  });
}

function idle() {}

const paths = { "/echo": echo, "/echo-callback": echo, "/fanout": fanOut, "/control": control, "/idle": idle };

const server = createServer();
server.on("upgrade", (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, paths[request.url]);
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  process.stdout.write(`${server.address().port} ${process.pid}\n`);
});
