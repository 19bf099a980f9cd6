'use strict';
// Ways to answer other than the plain account, by the query's `mode`. The raw ones write bytes that no HTTP library would.
const fs = require('node:fs');
const { createHash } = require('node:crypto');
const { attack } = require('./attack');

const raw = {
  'two-lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello',
  'length-and-chunked': 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'negative-length': 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
  'nul-in-header': 'HTTP/1.1 200 OK\r\nX-Bad: a\0b\r\nContent-Length: 0\r\n\r\n',
  'folded-header': 'HTTP/1.1 200 OK\r\nX-Bad: a\r\n b\r\nContent-Length: 0\r\n\r\n',
  'unasked-101': 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsecret',
  'truncated': 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort',
  'truncated-chunks': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
  'garbage': 'this is not HTTP\r\n\r\n',
  'empty': '',
};
const pooled = { // the connection stays open: what is left on it must not become somebody's answer
  'extra-bytes': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison',
  'body-on-204': 'HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison',
  'early-hints': 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
};

/** Answers and returns true, or returns false where the mode is none of these. */
function answerInMode(mode, req, res, about) {
  const query = new URLSearchParams(req.url.split('?')[1] ?? '');
  const number = (name, otherwise) => Number(query.get(name) ?? otherwise);
  if (mode in raw) {
    req.socket.end(Buffer.from(raw[mode], 'latin1'));
    return true;
  }
  if (mode in pooled) {
    req.socket.write(Buffer.from(pooled[mode], 'latin1'));
    return true;
  }
  switch (mode) {
    case 'slow': // the body is read, the answer comes later
      req.resume();
      setTimeout(() => { res.setHeader('content-type', 'application/json'); res.end(JSON.stringify(about)); }, number('ms', 1000));
      return true;
    case 'attack':
      collect(req).then(body => attack(JSON.parse(body))).then(results => res.end(JSON.stringify(results)));
      return true;
    case 'error':
      req.resume();
      res.writeHead(500, { 'content-type': 'application/json' });
      res.end(JSON.stringify(about));
      return true;
    case 'hang':
      return true;
    case 'deaf': // answers before the body is read, and reads none of it
      res.writeHead(403, { 'content-length': 2 });
      res.end('no');
      return true;
    case 'bytes': { // n bytes, sha256 in a header
      const body = Buffer.alloc(number('n', 1000), about.workspace);
      res.writeHead(200, { 'content-length': body.length, 'x-sha256': createHash('sha256').update(body).digest('hex') });
      res.end(body);
      return true;
    }
    case 'events': { // n server-sent events, ms apart, each with its time
      res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
      let left = number('n', 5);
      const timer = setInterval(() => {
        res.write(`data: ${Date.now()}\n\n`);
        if (--left <= 0) { clearInterval(timer); res.end(); }
      }, number('ms', 100));
      res.on('close', () => clearInterval(timer));
      return true;
    }
    case 'say': { // lines of its log: `<text> <number> <padding>`, from one number to below another
      const padding = 'x'.repeat(number('pad', 0));
      for (let i = number('from', 0); i < number('to', 1); i++) fs.writeSync(1, `${query.get('text') ?? 'said'} ${i} ${padding}\n`);
      res.end('said');
      return true;
    }
    case 'cookies':
      res.writeHead(200, { 'set-cookie': ['a=1; Path=/', 'b=2; Path=/', 'c=3; Domain=localhost; Path=/'], 'content-length': 0, connection: 'close, x-private', 'x-private': 'hop', 'keep-alive': 'timeout=9' });
      res.end();
      return true;
    default:
      return false;
  }
}

async function collect(req) {
  return Buffer.concat(await req.toArray());
}

/** A WebSocket handshake, then every byte comes back as it went. */
function tunnel(req, socket, head, about) {
  if (new URLSearchParams(req.url.split('?')[1] ?? '').get('mode') === 'refuse-upgrade') {
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
    return;
  }
  const key = req.headers['sec-websocket-key'] ?? '';
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\nX-Echo-Workspace: ${about.workspace}\r\n\r\n`);
  socket.write(head);
  socket.pipe(socket);
  socket.on('error', () => {});
}

module.exports = { answerInMode, tunnel };
