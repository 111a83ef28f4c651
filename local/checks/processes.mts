/** What Linux tells of processes. */

import { readdirSync, readFileSync } from 'node:fs';

/** A process and all below it. */
export function processesOf(root: number): number[] {
  const children = readdirSync('/proc').filter(name => /^\d+$/.test(name)).map(Number).filter(pid => parentOf(pid) === root);
  return [root, ...children.flatMap(processesOf)];
}

/** Resident memory in MiB. */
export function residentMiB(pid: number): number {
  return Math.round(Number(/^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024);
}

/** The most that is measured while something is done. */
export async function mostMeanwhile(measure: () => number, something: () => Promise<unknown>): Promise<number> {
  let most = measure();
  const watch = setInterval(() => { most = Math.max(most, measure()); }, 250);
  try {
    await something();
  } finally {
    clearInterval(watch);
  }
  return most;
}

/** Empty where the process has just ended. */
export function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1]);
}
