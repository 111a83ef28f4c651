/** Checks that the lists in local/names/ match the installed programs. Whether each name is refused or allowed is tested in test/names.test.ts. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';

const folder = join(import.meta.dirname, '..', 'names');

/** A heading of server.txt. The lines below it are not names of variables. */
const unnamedHeading = '# No names';

export async function checkNames(checks: Checks, { python, proxy }: { python: string; proxy: string }): Promise<void> {
  checks.heading('Each setting of the programs is on a list, refused or allowed');
  const { stdout } = await execa(python, [join(import.meta.dirname, 'known_names.py')]);
  const known = JSON.parse(stdout) as { names: string[]; unnamed: string[]; gunicorn: string[] };
  await checks.check('variables of MLflow and its dependencies', async () => {
    compare('server.txt', known.names, part => !part.startsWith(unnamedHeading));
    compare('server.txt', known.unnamed, part => part.startsWith(unnamedHeading));
    return `${known.names.length}`;
  });
  await checks.check('options of oauth2-proxy', async () => {
    const names = await optionsOf(proxy);
    compare('oauth2-proxy.txt', names);
    return `${names.length}`;
  });
  await checks.check('options of gunicorn', async () => {
    compare('gunicorn.txt', known.gunicorn);
    return `${known.gunicorn.length}`;
  });
}

function compare(file: string, known: string[], isMeant: (part: string) => boolean = () => true): void {
  const parts = readFileSync(join(folder, file), 'utf8').trim().split('\n\n').filter(isMeant);
  const listed = parts.flatMap(part => part.split('\n').slice(1));
  const fresh = known.filter(name => !listed.includes(name));
  const gone = listed.filter(name => !known.includes(name));
  assert(fresh.length + gone.length === 0, `local/names/${file}: not listed, so decide whether to allow it: ${fresh.join(', ') || 'none'}; listed, but no longer used: ${gone.join(', ') || 'none'}`);
}

/** The proxy has its options in the tags of Go structs: the name of the flag and of the variable. Its help lists only the flags. */
async function optionsOf(proxy: string): Promise<string[]> {
  const tags = [...readFileSync(proxy, 'latin1').matchAll(/flag:"([a-z0-9-]+)" cfg:"([a-z0-9_]+)"/g)];
  const { all: help } = await execa(proxy, ['--help'], { all: true, reject: false });
  const flags = [...help.matchAll(/^ +(?:-\w, )?--([a-z0-9-]+)/gm)].map(([, flag]) => flag);
  const tagged = new Set(tags.map(([, flag]) => flag));
  assert.deepEqual([...tagged].filter(flag => !flags.includes(flag)), [], 'tags whose flag is not in the help');
  return [...new Set([...tags.map(([, , name]) => name), ...flags.filter(flag => !tagged.has(flag))])].map(name => `OAUTH2_PROXY_${name.replaceAll('-', '_').toUpperCase()}`);
}
