/**
 * Packs the programs of each task into one line of text in its task definition, because unpacked they would exceed the limit of ECS.
 * This is not done at synthesis, because zlib compresses differently on different processors, and templates would depend on the machine.
 */

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { deflateSync, inflateSync } from 'node:zlib';

const folder = join(import.meta.dirname, '..', 'containers');
const tasks = {
  'service': /^(prepare|database_token|health)\.py$|^secure_mlflow\/.+\.(py|html)$/,
  'clean-up': /^(prepare|clean_up)\.py$/,
};

export function packPrograms(): void {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  for (const [task, programs] of Object.entries(tasks)) {
    const packed = join(folder, `${task}.packed`);
    const contents = Object.fromEntries(files.filter(name => programs.test(name)).map(name => [name, readFileSync(join(folder, name), 'utf8')]));
    if (!existsSync(packed) || !isDeepStrictEqual(unpack(readFileSync(packed, 'utf8')), contents)) {
      writeFileSync(packed, pack(contents));
    }
  }
}

export function pack(programs: Record<string, string>): string {
  return deflateSync(JSON.stringify(programs), { level: 9, memLevel: 9 }).toString('base64');
}

export function unpack(packed: string): Record<string, string> {
  return JSON.parse(inflateSync(Buffer.from(packed, 'base64')).toString()) as Record<string, string>;
}

if (process.argv[1] === import.meta.filename) {
  packPrograms();
}
