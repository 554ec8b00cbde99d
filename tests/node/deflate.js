// The Node peer of tests/protocol/test_compression.py: speaks to a server with `ws`, which offers permessage-deflate
// and here compresses whatever it sends, and prints what it saw as JSON. Usage: node deflate.js URL

"use strict";

const { once } = require("node:events");
const { createHash } = require("node:crypto");
const WebSocket = require("ws");

const url = process.argv[2];
const digest = (data) => createHash("sha256").update(data).digest("hex");

async function open(path, perMessageDeflate) {
  const socket = new WebSocket(url + path, { perMessageDeflate });
  await once(socket, "open");
  return socket;
}

async function message(socket) {
  const [data, isBinary] = await once(socket, "message");
  return [isBinary, data];
}

async function closed(socket) {
  const [code, reason] = await once(socket, "close");
  return [code, reason.toString()];
}

async function echoes(perMessageDeflate) {
  const socket = await open("/echo", { threshold: 0, ...perMessageDeflate });
  const seen = { extensions: socket.extensions };
  const long = "grüße €𝄞 ".repeat(200);
  socket.send(long);
  const [textIsBinary, text] = await message(socket);
  seen.text = [textIsBinary, text.toString() === long];
  socket.send("");
  seen.empty = (await message(socket))[1].length;
  const parts = ["one ".repeat(100), "two ".repeat(100), "three"];
  for (const part of parts) socket.send(part, { fin: part === "three", binary: false });
  seen.fragmented = (await message(socket))[1].toString() === parts.join("");
  const mebibyte = Buffer.alloc(1 << 20, "0123456789abcdef-");
  socket.send(mebibyte);
  seen.mebibyte = digest((await message(socket))[1]) === digest(mebibyte);
  const end = closed(socket);
  socket.close(4123, "from Node");
  seen.close = await end;
  return seen;
}

async function main() {
  const seen = { defaults: await echoes({}), small: await echoes({ serverMaxWindowBits: 9, clientMaxWindowBits: 10 }) };
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
