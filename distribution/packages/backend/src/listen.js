'use strict';
// Where an instance is reached. Two ways in, and no third:
//
//   http.sock in the run directory   orbitd's proxy and probes. Only the instance's own user can enter the directory, and orbitd asks
//                                    the kernel which process listens, so neither side can be mistaken for another.
//   127.0.0.1:<port>/<secret>/…      the instance's own plugins, which find each other by URL (Backstage's discovery). Any process of
//                                    the machine can connect to a port, so everything without the secret is a 404.
const http = require('node:http');
const net = require('node:net');
const { createHmac, timingSafeEqual } = require('node:crypto');

const BACKLOG = 1024; // connections that wait to be accepted
const HEAD_DEADLINE_MS = 10_000;

/** The first part of every path on the loopback port. Derived, so that nobody has to hand it over. */
function loopbackSecret({ boot_secret }) {
  return createHmac('sha256', Buffer.from(boot_secret, 'hex')).update('loopback').digest('hex');
}

/** Takes Backstage's server off the port that it would listen on, and gives the port to its own plugins alone. */
function listenBehindDoor(server, start) {
  const inside = http.createServer({ headersTimeout: HEAD_DEADLINE_MS, keepAliveTimeout: 75_000 });
  const strip = stripper(loopbackSecret(start));
  inside.on('request', (req, res) => {
    if (strip(req)) return server.emit('request', req, res);
    res.writeHead(404, { 'content-length': 0, connection: 'close' }).end();
  });
  inside.on('upgrade', (req, socket) => socket.destroy()); // no plugin opens a WebSocket to another
  inside.on('error', error => server.emit('error', error));
  server.listen = (port, host, listening) => {
    inside.listen({ port, host: '127.0.0.1' }, () => {
      net.Server.prototype.listen.call(server, { path: start.socket, backlog: BACKLOG }, listening);
    });
    return server;
  };
  server.on('close', () => inside.close());
}

/** For a server that nobody is to reach: it is told that it listens. */
function listenNowhere(server) {
  server.listen = (_port, _host, listening) => {
    setImmediate(listening);
    return server;
  };
}

/** Takes the secret off a request's path; false where it is not there. */
function stripper(secret) {
  const wanted = Buffer.from(`/${secret}/`);
  return req => {
    const given = Buffer.from(req.url.slice(0, wanted.length));
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return false;
    req.url = req.url.slice(wanted.length - 1);
    return true;
  };
}

module.exports = { listenBehindDoor, listenNowhere, loopbackSecret };
