// The Node peer of tests/protocol/test_clients.py: speaks to a server with `ws` and prints what it saw as JSON.
// Usage: node peer.js URL

"use strict";

const { once } = require("node:events");
const { createHash } = require("node:crypto");
const WebSocket = require("ws");

const url = process.argv[2];

/** The next message as [is binary, Buffer]. */
async function message(socket) {
  const [data, isBinary] = await once(socket, "message");
  return [isBinary, data];
}

async function open(path, protocols = []) {
  const socket = new WebSocket(url + path, protocols);
  await once(socket, "open");
  return socket;
}

async function closed(socket) {
  const [code, reason] = await once(socket, "close");
  return [code, reason.toString()];
}

async function echoes() {
  const socket = await open("/echo");
  const seen = {};
  socket.send("grüße €𝄞");
  const [textIsBinary, text] = await message(socket);
  seen.text = [textIsBinary, text.toString()];
  socket.send(Buffer.from([0, 255, 128]));
  const [bytesAreBinary, bytes] = await message(socket);
  seen.binary = [bytesAreBinary, bytes.toString("hex")];
  for (const part of ["one ", "two ", "three"]) socket.send(part, { fin: part === "three", binary: false });
  seen.fragmented = (await message(socket))[1].toString();
  const mebibyte = Buffer.alloc(1 << 20, "0123456789abcdef-");
  socket.send(mebibyte);
  const digest = (data) => createHash("sha256").update(data).digest("hex");
  seen.mebibyte = digest((await message(socket))[1]) === digest(mebibyte);
  socket.send("");
  seen.empty = (await message(socket))[1].length;
  const pong = once(socket, "pong");
  socket.ping("are you there");
  seen.pong = (await pong)[0].toString();
  const end = closed(socket);
  socket.close(4123, "from Node");
  seen.close = await end;
  return seen;
}

async function closing() {
  const socket = await open("/close");
  const end = closed(socket);
  socket.send("4321 from Python");
  return await end;
}

async function subprotocol() {
  const socket = await open("/chat", ["other", "chat"]);
  const end = closed(socket);
  const found = socket.protocol;
  socket.close();
  await end;
  return found;
}

async function pinged() {
  // The server pings, `ws` answers by itself; three of them prove that the answers count.
  const socket = await open("/echo");
  for (let count = 0; count < 3; count++) await once(socket, "ping");
  const end = closed(socket);
  socket.close(1000);
  return await end;
}

async function refused() {
  const socket = new WebSocket(url + "/nowhere");
  const [, response] = await once(socket, "unexpected-response");
  response.resume();
  socket.on("error", () => {});
  socket.terminate();
  return response.statusCode;
}

async function main() {
  const seen = {
    echoes: await echoes(),
    closing: await closing(),
    subprotocol: await subprotocol(),
    pinged: await pinged(),
    refused: await refused(),
  };
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
