'use strict';
// V8's compiled code, made once by install.sh and shared by all instances: 0.7 s less per start. Node keeps it in a
// directory per user id and keyed by absolute file names. A user other than the installer gets a link in its run directory
// to the shared one. Without the cache, or after the tree was moved, everything works, only slower.
const fs = require('node:fs');
const module_ = require('node:module');
const path = require('node:path');

/** @param root the distribution's root; its .compile-cache holds one `<node version and flags>-<uid>` directory */
function enableCompileCache(root) {
  if (typeof module_.enableCompileCache !== 'function') return; // Node before 22.1
  const shared = path.join(root, '.compile-cache');
  try {
    const made = fs.readdirSync(shared).find(name => name.startsWith(`${process.version}-`));
    if (!made) return;
    const installer = made.slice(made.lastIndexOf('-') + 1);
    if (installer === String(process.getuid())) return void module_.enableCompileCache(shared);
    const own = path.resolve('.compile-cache');
    fs.mkdirSync(own, { recursive: true, mode: 0o700 });
    try {
      fs.symlinkSync(path.join(shared, made), path.join(own, made.replace(/-\d+$/, `-${process.getuid()}`)));
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    module_.enableCompileCache(own);
  } catch {} // no cache in this install
}

module.exports = { enableCompileCache };
