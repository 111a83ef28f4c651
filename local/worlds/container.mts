/** A container of the task as a bundle of the Open Container Initiative, for crun: it has what the task definition declares, and of this machine only the image's files. */

import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container } from '../aws/ecs.mjs';
import { Daemon, type Running } from '../processes.mjs';

/** A file or folder of this machine, and its path in the container. */
export interface Mount {
  readonly source: string;
  readonly destination: string;
  readonly writable?: boolean;
}

interface BundleOptions {
  readonly container: Container;
  /** The image's files, the volumes, and the files that ECS adds to each container. */
  readonly mounts: readonly Mount[];
  /** The network of the task. */
  readonly network: string;
  /** Returns the command that runs with the memory limit of the task. */
  readonly limited: (command: readonly string[]) => string[];
}

/** The capabilities of a Docker container, unless the task definition drops them. https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities */
const usualCapabilities = [
  'AUDIT_WRITE', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'MKNOD', 'NET_BIND_SERVICE', 'NET_RAW', 'SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT',
];

/** https://github.com/opencontainers/runtime-spec/blob/main/config.md */
export function configOf({ container, mounts, network }: BundleOptions) {
  const { definition } = container;
  return {
    ociVersion: '1.0.2',
    process: processOf(container, container.command),
    root: { path: 'rootfs', readonly: definition.ReadonlyRootFilesystem ?? false },
    hostname: 'task',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
      { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'] },
      { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      ...[...mounts].sort((one, other) => depth(one) - depth(other)) // as container engines do: a mount inside another comes after it
        .map(({ source, destination, writable }) => ({ destination, type: 'bind', source, options: ['rbind', writable ? 'rw' : 'ro'] })),
    ],
    linux: {
      namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }, { type: 'network', path: network }],
      maskedPaths: ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list', '/proc/sched_debug', '/proc/scsi', '/sys/firmware'],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    },
  };
}

function depth({ destination }: Mount): number {
  return destination.split('/').length;
}

function processOf({ definition, env, user: { uid, gid } = { uid: 0, gid: 0 } }: Container, args: readonly string[]) {
  const { Add = [], Drop = [] } = definition.LinuxParameters?.Capabilities ?? {};
  const kept = Drop.includes('ALL') ? [] : usualCapabilities.filter(name => !Drop.includes(name));
  const capabilities = [...kept, ...Add].map(name => `CAP_${name}`);
  const held = uid === 0 ? capabilities : []; // other users have none at the start
  return {
    terminal: false,
    user: { uid, gid },
    args,
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    cwd: definition.WorkingDirectory ?? '/',
    capabilities: { bounding: capabilities, effective: held, permitted: held, inheritable: [], ambient: [] },
    noNewPrivileges: definition.DockerSecurityOptions?.includes('no-new-privileges') ?? false,
  };
}

/** Runs the containers of one run. */
export class Containers {
  private commands = 0;

  constructor(private readonly folder: string) {}

  start(name: string, options: BundleOptions, log: string): Running {
    const bundle = join(this.folder, name);
    rmSync(bundle, { recursive: true, force: true });
    const rootfs = join(bundle, 'rootfs');
    mkdirSync(rootfs, { recursive: true });
    ['bin', 'sbin', 'lib', 'lib64'].filter(link => isLink(`/${link}`)).forEach(link => symlinkSync(readlinkSync(`/${link}`), join(rootfs, link)));
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(configOf(options)), { mode: 0o600 });
    const crun = [...this.crun, 'run', '--bundle', bundle, '--pid-file', join(bundle, 'pid'), name];
    return new ContainerProcess(options.limited(crun), join(bundle, 'pid'), log);
  }

  /** The command line that runs a command in a running container. */
  inside(name: string, container: Container, command: readonly string[]): string[] {
    this.commands += 1;
    const file = join(this.folder, name, `command-${this.commands}.json`);
    writeFileSync(file, JSON.stringify(processOf(container, command)), { mode: 0o600 });
    return [...this.crun, 'exec', '--process', file, name];
  }

  private get crun(): string[] {
    return ['crun', '--root', join(this.folder, 'state'), '--cgroup-manager', 'disabled'];
  }
}

/** The first process of a container, for which crun waits. Signals for the container are sent to it. */
class ContainerProcess implements Running {
  readonly exited: Running['exited'];
  private readonly crun: Daemon;

  constructor(command: readonly string[], private readonly pidFile: string, log: string) {
    this.crun = new Daemon(command, { env: { PATH: process.env.PATH! }, log });
    this.exited = this.crun.exited;
  }

  get pid(): number {
    return Number(readFileSync(this.pidFile, 'utf8'));
  }

  get running(): boolean {
    return this.crun.running;
  }

  lastLines(count?: number): string {
    return this.crun.lastLines(count);
  }

  async stop(graceSeconds: number, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    while (this.running && !existsSync(this.pidFile)) {
      await sleep(20); // until crun has created it
    }
    const send = (name: NodeJS.Signals) => {
      try {
        if (this.running && this.pid > 0) {
          process.kill(this.pid, name);
        }
      } catch {
        // it has ended, which crun will detect
      }
    };
    send(signal);
    const tooLong = setTimeout(() => send('SIGKILL'), graceSeconds * 1000);
    await this.exited;
    clearTimeout(tooLong);
  }
}

export function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}
