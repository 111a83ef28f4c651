/** The memory limit of a task, as a control group of Linux, version 1 or 2. Groups have names, so groups that a run could not remove are removed at the next start. */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const mounted = '/sys/fs/cgroup';
const [first, second] = [
  { root: join(mounted, 'memory'), limit: 'memory.limit_in_bytes', swap: { limit: 'memory.memsw.limit_in_bytes', counts: 'both' } },
  { root: mounted, limit: 'memory.max', swap: { limit: 'memory.swap.max', counts: 'swap' } },
];

/** The version of the kernel; undefined if memory cannot be limited. */
const version = find();

function find(): typeof first | undefined {
  return [first, second].find(({ root, limit }) => {
    const attempt = join(root, `cdk-secure-mlflow-${process.pid}`);
    try {
      mkdirSync(attempt);
      passOn(root);
      return existsSync(join(attempt, limit));
    } catch {
      return false; // not on this machine, or not for this process
    } finally {
      if (existsSync(attempt)) {
        rmdirSync(attempt);
      }
    }
  });
}

/** In the second version, a group must allow its subgroups to limit memory. */
function passOn(group: string): void {
  const controllers = join(group, 'cgroup.subtree_control');
  if (existsSync(controllers)) {
    writeFileSync(controllers, '+memory');
  }
}

export const limitsMemory = version !== undefined;

/** Creates a group for one task of the run that writes to the folder. Returns a function that makes a command run in it. */
export function limitMemory(folder: string, task: string, mebibytes: number): (command: readonly string[]) => string[] {
  if (version === undefined) {
    return command => [...command];
  }
  const group = join(groupIn(version.root, folder), task);
  mkdirSync(group, { recursive: true });
  passOn(groupIn(version.root, folder));
  const bytes = String(mebibytes * 1024 * 1024);
  const { swap } = version;
  const limitsSwap = existsSync(join(group, swap.limit));
  if (limitsSwap && swap.counts === 'both') {
    writeFileSync(join(group, swap.limit), '-1'); // resets the limit of an earlier task with this name; it must not be less than the memory limit
  }
  writeFileSync(join(group, version.limit), bytes);
  if (limitsSwap) {
    writeFileSync(join(group, swap.limit), swap.counts === 'both' ? bytes : '0');
  }
  return command => ['sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', group, ...command];
}

/** Removes the groups of a run when their processes have ended. The kernel needs time for killed processes. */
export async function removeGroups(folder: string): Promise<void> {
  const group = version && groupIn(version.root, folder);
  if (group === undefined || !existsSync(group)) {
    return;
  }
  const tasks = readdirSync(group, { withFileTypes: true }).filter(entry => entry.isDirectory()).map(({ name }) => join(group, name));
  for (const each of [...tasks, group]) {
    await remove(each);
  }
}

async function remove(group: string): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      return rmdirSync(group);
    } catch (error) {
      if (tries === 100) {
        console.log(`  - ${group} could not be removed; the next start removes it: ${(error as Error).message}`);
        return;
      }
      await sleep(100);
    }
  }
}

function groupIn(root: string, folder: string): string {
  return join(root, `cdk-secure-mlflow-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}`);
}
