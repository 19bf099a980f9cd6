'use strict';
// How orbitd proves that the process behind a port is the instance it started: it sends a random challenge and compares the
// answer with its own HMAC-SHA256(key: the 32 bytes of boot_secret, message: the challenge's bytes). Nothing else uses the
// secret, and an answer tells nothing about it, so the route needs no authentication; orbitd's proxy does not forward it.
const { createHmac } = require('node:crypto');

const CHALLENGE = /^([0-9a-f]{2}){1,64}$/i; // 1 to 64 bytes as hexadecimal digits

function answerBootChallenge({ boot_id, boot_secret }) {
  const key = Buffer.from(boot_secret, 'hex');
  return (req, res) => {
    const { challenge } = req.query;
    res.set('cache-control', 'no-store');
    if (typeof challenge !== 'string' || !CHALLENGE.test(challenge)) {
      res.status(400).json({ error: 'challenge must be 2 to 128 hexadecimal digits, an even number of them' });
      return;
    }
    const proof = createHmac('sha256', key).update(Buffer.from(challenge, 'hex')).digest('hex');
    res.json({ boot_id, pid: process.pid, proof });
  };
}

module.exports = { answerBootChallenge };
