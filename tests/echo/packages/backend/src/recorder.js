'use strict';
// Keeps the raw bytes of every connection and every parsed request, so that a test can say what exactly reached the origin.
// Connections on which orbitd itself asks (health, boot challenge, probe) are forgotten.

const MAX_CONNECTIONS = 4000;
const MAX_BYTES = 4 << 20;

class Recorder {
  #connections = new Map(); // socket → { id, chunks, bytes, requests, broken }
  #next = 1;

  watch(socket) {
    const entry = { id: this.#next++, chunks: [], bytes: 0, requests: [], broken: null };
    this.#connections.set(socket, entry);
    if (this.#connections.size > MAX_CONNECTIONS) this.#connections.delete(this.#connections.keys().next().value);
    // A `data` listener that comes after the HTTP server's own takes the parser's direct path away: both see every byte.
    socket.on('data', chunk => {
      entry.bytes += chunk.length;
      if (entry.bytes <= MAX_BYTES) entry.chunks.push(Buffer.from(chunk));
    });
  }

  request(req) {
    const seen = { method: req.method, url: req.url, headers: req.rawHeaders, complete: false };
    const entry = this.#connections.get(req.socket);
    if (entry) entry.requests.push(seen);
    return seen;
  }

  broken(socket, code) {
    const entry = this.#connections.get(socket);
    if (entry) entry.broken = String(code);
  }

  forget(socket) {
    this.#connections.delete(socket);
  }

  dump() {
    return [...this.#connections.values()].map(({ id, chunks, bytes, requests, broken }) => ({
      id, bytes, requests, broken, wire: Buffer.concat(chunks).toString('base64'),
    }));
  }
}

module.exports = { Recorder };
