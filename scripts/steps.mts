/** Functions that the steps of `verify` share with each other and with measurements that use the packages. */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
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

/** Creates the virtual environment `.venv` in the folder and installs the given packages with pip. */
export async function installPython(folder: string, ...what: string[]): Promise<void> {
  await run('python3', ['-m', 'venv', join(folder, '.venv')]);
  await run(join(folder, '.venv', 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', ...what]);
}

/** The only file with this ending. Several files are an error, because one of them may be old. */
export function packaged(language: string, ending: string): string {
  const folder = join(root, 'dist', language);
  const files = existsSync(folder) ? readdirSync(folder, { encoding: 'utf8', recursive: true }).filter(name => name.endsWith(ending)) : [];
  if (files.length !== 1) {
    throw new Error(`expected one ${ending} in ${folder}, found ${files.length}: remove the folder and run \`npx projen build\``);
  }
  return join(folder, files[0]);
}
