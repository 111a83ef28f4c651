/** The memory of a task, as a control group of Linux, version 1 or 2. Groups have names, so they are looked for at the next start where a run could not remove its own. */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const mounted = '/sys/fs/cgroup';
const [first, second] = [
  { root: join(mounted, 'memory'), limit: 'memory.limit_in_bytes', swap: { limit: 'memory.memsw.limit_in_bytes', counts: 'both' } },
  { root: mounted, limit: 'memory.max', swap: { limit: 'memory.swap.max', counts: 'swap' } },
];

/** Of the kernel; undefined where memory cannot be limited. */
const version = find();

function find(): typeof first | undefined {
  return [first, second].find(({ root, limit }) => {
    const attempt = join(root, `cdk-secure-mlflow-${process.pid}`);
    try {
      mkdirSync(attempt);
      passOn(root);
      return existsSync(join(attempt, limit));
    } catch {
      return false; // not here, or not for this process
    } finally {
      if (existsSync(attempt)) {
        rmdirSync(attempt);
      }
    }
  });
}

/** The second version limits memory in the groups of a group that says so. */
function passOn(group: string): void {
  const controllers = join(group, 'cgroup.subtree_control');
  if (existsSync(controllers)) {
    writeFileSync(controllers, '+memory');
  }
}

export const limitsMemory = version !== undefined;

/** A group for one task, of the run that writes into the folder. Returns how a command is run in it. */
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
    writeFileSync(join(group, swap.limit), '-1'); // of an earlier task of this name; it may not be less than the limit of memory
  }
  writeFileSync(join(group, version.limit), bytes);
  if (limitsSwap) {
    writeFileSync(join(group, swap.limit), swap.counts === 'both' ? bytes : '0');
  }
  return command => ['sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', group, ...command];
}

/** Once none of their processes runs. */
export function removeGroups(folder: string): void {
  const group = version && groupIn(version.root, folder);
  if (group === undefined || !existsSync(group)) {
    return;
  }
  try {
    readdirSync(group, { withFileTypes: true }).filter(entry => entry.isDirectory()).forEach(({ name }) => rmdirSync(join(group, name)));
    rmdirSync(group);
  } catch {
    // a process that was killed is still ending; the next start removes it
  }
}

function groupIn(root: string, folder: string): string {
  return join(root, `cdk-secure-mlflow-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}`);
}
