/** The memory of a task, as a control group of Linux, version 1 or 2. Groups have names, so they are looked for at the next start where a run could not remove its own. */

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const mounted = '/sys/fs/cgroup';
const [first, second] = [
  { root: join(mounted, 'memory'), limit: 'memory.limit_in_bytes' },
  { root: mounted, limit: 'memory.max' },
];

/** Of the kernel; undefined where memory cannot be limited. */
const version = find();

function find(): typeof first | undefined {
  if (existsSync(join(first.root, first.limit))) {
    return first;
  }
  const controllers = join(second.root, 'cgroup.controllers');
  return existsSync(controllers) && readFileSync(controllers, 'utf8').split(/\s+/).includes('memory') ? second : undefined;
}

export const limitsMemory = version !== undefined;

/** A group for one task. Returns how a command is run in it. */
export function limitMemory(task: string, mebibytes: number): (command: readonly string[]) => string[] {
  if (version === undefined) {
    return command => [...command];
  }
  const group = join(groupIn(version.root), task);
  mkdirSync(group, { recursive: true });
  if (version === second) {
    [second.root, groupIn(second.root)].forEach(parent => writeFileSync(join(parent, 'cgroup.subtree_control'), '+memory'));
  }
  writeFileSync(join(group, version.limit), String(mebibytes * 1024 * 1024));
  return command => ['sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', group, ...command];
}

/** Once none of their processes runs. */
export function removeGroups(): void {
  const group = version && groupIn(version.root);
  if (group !== undefined && existsSync(group)) {
    readdirSync(group, { withFileTypes: true }).filter(entry => entry.isDirectory()).forEach(({ name }) => rmdirSync(join(group, name)));
    rmdirSync(group);
  }
}

/** Of this checkout, which has one run at a time. */
function groupIn(root: string): string {
  return join(root, `cdk-secure-mlflow-${createHash('sha256').update(import.meta.dirname).digest('hex').slice(0, 12)}`);
}
