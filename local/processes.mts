/** Long-running programs. Each has its own process group and log file, and is stopped with all its children. */

import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';

export interface User { readonly uid: number; readonly gid: number }

interface LaunchOptions {
  /** The whole environment: no variable of the caller is added. */
  readonly env: Record<string, string>;
  readonly log: string;
  readonly user?: User;
}

/** A running program. */
export interface Running {
  readonly pid: number;
  /** How it ended. Never rejected. */
  readonly exited: Promise<{ readonly code?: number; readonly text: string }>;
  readonly running: boolean;
  lastLines(count?: number): string;
  stop(graceSeconds: number, signal?: NodeJS.Signals): Promise<void>;
}

/** All programs started in this run. */
export const launched: Daemon[] = [];

export class Daemon implements Running {
  readonly pid: number;
  readonly exited: Running['exited'];
  private ended = false;

  constructor(command: readonly string[], private readonly options: LaunchOptions) {
    const log = { file: options.log, append: true } as const;
    const process = execa(command[0], command.slice(1), {
      cwd: '/',
      env: options.env,
      extendEnv: false,
      detached: true, // its own group: Ctrl-C in the terminal reaches only this program, which then stops the others in order
      stdin: 'ignore',
      stdout: log,
      stderr: log,
      buffer: false,
      reject: false,
      ...options.user,
    });
    if (process.pid === undefined) {
      throw new Error(`cannot start ${command[0]}`);
    }
    this.pid = process.pid;
    launched.push(this);
    // The promise of execa is not used, because it waits for the output of all remaining processes of the group.
    this.exited = new Promise(resolve => process.once('exit', (exitCode, signal) => {
      this.ended = true;
      signalGroup(this.pid, 'SIGKILL'); // as in a container, no process outlives the first one
      // Its last output may not be in the file yet.
      void Promise.race([process, sleep(2000)]).then(() => resolve({ code: exitCode ?? undefined, text: signal ?? `exit code ${exitCode}` }));
    }));
  }

  get running(): boolean {
    return !this.ended;
  }

  lastLines(count = 15): string {
    return readFileSync(this.options.log, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  }

  async stop(graceSeconds: number, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!this.running) {
      return;
    }
    process.kill(this.pid, signal);
    const tooLong = setTimeout(() => signalGroup(this.pid, 'SIGKILL'), graceSeconds * 1000);
    await this.exited;
    clearTimeout(tooLong);
  }
}

export function groupIsAlive(pid: number): boolean {
  return signalGroup(pid, 0);
}

function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false;
  }
}

// A last resort, if this program itself fails.
process.on('exit', () => launched.filter(daemon => daemon.running).forEach(daemon => signalGroup(daemon.pid, 'SIGKILL')));

/** Chooses a port below those of outgoing connections, so that no such connection can take it. */
export async function freePort(): Promise<number> {
  const port = randomInt(20_000, 32_000);
  return await isFree(port) ? port : freePort();
}

export async function isFree(port: number): Promise<boolean> {
  return tryToListen(port, '127.0.0.1').then(() => true, () => false);
}

/** Rejected with the reason if a server cannot listen. */
export async function tryToListen(port: number, address: string): Promise<void> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => server.close(() => resolve()));
  });
}

/** Retries until `attempt` no longer throws. Gives up when `daemon` has ended or the time is over. */
export async function untilReady(daemon: Pick<Running, 'running' | 'exited' | 'lastLines'>, what: string, attempt: () => Promise<unknown>, seconds = 60): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (!daemon.running) {
        await daemon.exited; // only then its log is complete
      }
      if (!daemon.running || Date.now() > deadline) {
        throw new Error(`${what} did not start: ${(error as Error).message}\n${daemon.lastLines()}`);
      }
      await sleep(100);
    }
  }
}
