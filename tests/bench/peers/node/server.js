// The package ws: its own broadcast example, behind the commands of the benchmark.
'use strict';

const dgram = require('node:dgram');
const { createRequire } = require('node:module');

const port = Number(process.argv[2]);
// The packages lie in a folder of their own, not beside this file.
const { WebSocket, WebSocketServer } = createRequire(process.argv[3] + '/')('ws');

const wss = new WebSocketServer({ host: '127.0.0.1', port, backlog: 4096 });

wss.on('connection', (ws) => {
  ws.on('error', () => {}); // a client that goes without a Close frame
});

function message(size) {
  const head = `{"at": ${process.hrtime.bigint()}, "pad": "`;
  return head + 'x'.repeat(size - head.length - 2) + '"}';
}

const commands = dgram.createSocket('udp4');
commands.on('message', (text) => {
  const [per, size] = text.toString().split(' ').map(Number);
  for (let i = 0; i < per; i++) {
    const data = message(size);
    wss.clients.forEach((client) => {
      if (client.readyState === WebSocket.OPEN) client.send(data);
    });
  }
});
commands.bind(port, '127.0.0.1');
