/** Data about processes from Linux. */

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

/** The largest value that is measured during an action. */
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

/** Memory of a process and all below it. Shared memory is counted once. */
export function memoryMiB(root: number): number {
  return Math.round(processesOf(root).reduce((sum, pid) => sum + Number(/^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0), 0) / 1024);
}

/** Processor time of a process and all below it, including those that have ended. */
export function cpuSeconds(root: number): number {
  const ticks = processesOf(root).map(pid => read(`/proc/${pid}/stat`).split(') ')[1]?.split(' ').slice(11, 15).map(Number) ?? []);
  return ticks.flat().reduce((sum, count) => sum + count, 0) / 100; // Linux counts a hundred ticks a second
}

/** The addresses and ports in the network of a process where programs listen. */
export function listeners(pid: number): { readonly address: string; readonly port: number }[] {
  return ['tcp', 'tcp6'].flatMap(file => read(`/proc/${pid}/net/${file}`).split('\n').slice(1).map(line => line.trim().split(/\s+/)))
    .filter(([, , , state]) => state === '0A')
    .map(([, local]) => local.split(':'))
    .map(([address, port]) => ({ address: address.length === 8 ? address.match(/../g)!.reverse().map(byte => parseInt(byte, 16)).join('.') : address, port: parseInt(port, 16) }));
}

/** Empty if the process has just ended. */
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
