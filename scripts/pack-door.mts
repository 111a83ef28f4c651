/**
 * Packs the inner door into one line of text, which the task definition takes along: as it stands it would fill half of what ECS allows for one.
 * Done here and not at synthesis, because zlib compresses differently on different processors, and templates would differ with the machine.
 */

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync, inflateSync } from 'node:zlib';

const folder = join(import.meta.dirname, '..', 'containers');
const source = join(folder, 'secure_mlflow');
const packed = join(folder, 'secure_mlflow.packed');

export function packDoor(): void {
  const names = readdirSync(source).filter(name => name.endsWith('.py')).sort();
  const files = JSON.stringify(Object.fromEntries(names.map(name => [name, readFileSync(join(source, name), 'utf8')])));
  if (!existsSync(packed) || inflateSync(Buffer.from(readFileSync(packed, 'utf8'), 'base64')).toString() !== files) {
    writeFileSync(packed, deflateSync(files, { level: 9 }).toString('base64'));
  }
}

if (process.argv[1] === import.meta.filename) {
  packDoor();
}
