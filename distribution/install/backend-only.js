'use strict';
// After the browser app is built its hundreds of packages are of no more use: takes them out of packages/app and the lock,
// so that `npm prune --omit=dev` removes them. Run by install.sh in the tree it is making, never in the repository.
const fs = require('node:fs');

function edit(file, change) {
  const data = JSON.parse(fs.readFileSync(file, 'utf8'));
  change(data);
  fs.writeFileSync(file, `${JSON.stringify(data, null, 2)}\n`);
}

const strip = entry => { delete entry.dependencies; delete entry.devDependencies; };
edit('packages/app/package.json', strip);
edit('package-lock.json', lock => strip(lock.packages['packages/app']));
