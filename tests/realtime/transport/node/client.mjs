// A WebSocket client of Node's package ws, told what to do by lines of JSON on its standard input; what happens to
// it goes out the same way. Standard input at its end ends it.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// The package is installed in the working folder, which is not the folder of this file.
const WebSocket = createRequire(process.cwd() + "/")("ws");

const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n");
const bytes = (base64) => Buffer.from(base64, "base64");

const [url, options] = [process.argv[2], JSON.parse(process.argv[3] ?? "{}")];
const { protocols = [], ...rest } = options;
const socket = new WebSocket(url, protocols, rest);

socket.on("open", () => say("open", { protocol: socket.protocol, extensions: socket.extensions }));
socket.on("message", (data, binary) =>
  say("message", binary ? { bytes: data.toString("base64") } : { text: data.toString() }),
);
socket.on("ping", (data) => say("ping", { bytes: data.toString("base64") }));
socket.on("pong", (data) => say("pong", { bytes: data.toString("base64") }));
socket.on("close", (code, reason) => say("close", { code, reason: reason.toString() }));
socket.on("error", (error) => say("error", { message: error.message }));
socket.on("unexpected-response", (_request, response) => {
  let body = "";
  response.on("data", (chunk) => (body += chunk));
  response.on("end", () => say("refused", { status: response.statusCode, headers: response.headers, body }));
});

const commands = {
  text: ({ text }) => socket.send(text),
  bytes: ({ base64, binary = true, fin = true }) => socket.send(bytes(base64), { binary, fin }),
  ping: ({ base64 }) => socket.ping(bytes(base64)),
  pong: ({ base64 }) => socket.pong(bytes(base64)),
  close: ({ code, reason }) => socket.close(code, reason),
  terminate: () => socket.terminate(),
  pause: () => socket.pause(),
  resume: () => socket.resume(),
};
const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  const { command, ...more } = JSON.parse(line);
  commands[command](more);
});
input.on("close", () => process.exit());
