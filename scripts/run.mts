/** What the steps of `verify` share. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { execa, type Options } from 'execa';

export interface Count { readonly passed: number; readonly failed: number }

export const root = resolve(import.meta.dirname, '..');
export const work = join(root, '.try', 'verify');

export async function run(command: string, args: string[], options: Options = {}): Promise<void> {
  await execa(command, args, { cwd: root, stdio: 'inherit', preferLocal: true, ...options });
}

export async function install(folder: string, dependencies: Record<string, string>): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }));
  await run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel', 'error'], { cwd: folder });
}
