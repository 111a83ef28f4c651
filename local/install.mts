/** Installs the programs once. A stamp file records what they were built from. */

import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import type { User } from './processes.mjs';

const here = import.meta.dirname;

/** A Python on the path that is new enough. As root, one that the users of the containers can run is preferred. */
export async function findPython(user: User | undefined): Promise<string> {
  const suitable: string[] = [];
  for (const candidate of ['python3', '/usr/bin/python3']) {
    // New enough, and able to create a virtual environment.
    const isNewEnough = await execa(candidate, ['-c', 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'], { reject: false }); // the exit code is the answer
    if (!isNewEnough.failed) {
      suitable.push(candidate);
    }
  }
  for (const candidate of suitable) {
    if (await canRun(candidate, user)) {
      return candidate;
    }
  }
  if (suitable.length === 0) {
    throw new Error('Python 3.10 or newer with venv is needed: install it so that `python3` is on the path.');
  }
  return suitable[0];
}

/** Whether a user can run a program. The program may be in a home directory that other users cannot read. */
export async function canRun(program: string, user: User | undefined): Promise<boolean> {
  const { stdout: executable } = await execa(program, ['-c', 'import sys; print(sys.executable)']);
  return !(await execa(executable, ['-c', ''], { cwd: '/', reject: false, ...user })).failed;
}

export async function installPython(folder: string, python: string, requirements: string): Promise<void> {
  const file = join(here, 'requirements', requirements);
  const { stdout: version } = await execa(python, ['-VV']);
  await once(folder, [readFileSync(file, 'utf8'), python, version], async () => {
    await execa(python, ['-m', 'venv', folder]);
    await execa(join(folder, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', '--requirement', file]);
  });
}

/** Installs packages that the image does not have into a folder for PYTHONPATH, so that the stand-in for the image stays unchanged. */
export async function installBeside(folder: string, python: string, requirements: string): Promise<void> {
  const file = join(here, 'requirements', requirements);
  const { stdout: version } = await execa(python, ['-VV']);
  await once(folder, [readFileSync(file, 'utf8'), version], async () => {
    await execa(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--target', folder, '--requirement', file]);
  });
}

/** Installs the Python package for clients from this repository into a folder for PYTHONPATH. */
export async function installPlugin(folder: string, python: string): Promise<void> {
  const source = join(here, '..', 'clients', 'python');
  const files = ['pyproject.toml', ...readdirSync(join(source, 'src', 'mlflow_secure_tracking')).filter(name => name.endsWith('.py')).map(name => join('src', 'mlflow_secure_tracking', name))];
  await once(folder, files.map(file => readFileSync(join(source, file), 'utf8')), async () => {
    await execa(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--target', folder, source]);
  });
}

/** Builds oauth2-proxy from the pinned Go module, unless OAUTH2_PROXY_BIN names a program. */
export async function installProxy(folder: string): Promise<string> {
  const given = process.env.OAUTH2_PROXY_BIN;
  if (given) {
    accessSync(given, constants.X_OK);
    return given;
  }
  const module = join(here, 'oauth2-proxy');
  const program = join(folder, 'oauth2-proxy');
  const env = { CGO_ENABLED: '0' }; // as in the image, where there is no C library
  await once(folder, [...['go.mod', 'go.sum'].map(file => readFileSync(join(module, file), 'utf8')), JSON.stringify(env)], async () => {
    if ((await execa('go', ['version'], { reject: false })).failed) {
      throw new Error('Go is needed to build oauth2-proxy: install Go, or set OAUTH2_PROXY_BIN to the path of an oauth2-proxy program.');
    }
    await execa('go', ['build', '-trimpath', '-mod=readonly', '-o', program, 'github.com/oauth2-proxy/oauth2-proxy/v7'], { cwd: module, env });
  });
  return program;
}

export async function once(folder: string, madeFrom: string[], make: () => Promise<void>): Promise<void> {
  const stamp = join(folder, 'stamp');
  const hash = createHash('sha256').update(madeFrom.join('\n')).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) {
    return;
  }
  rmSync(folder, { recursive: true, force: true });
  await make();
  writeFileSync(stamp, hash);
}
