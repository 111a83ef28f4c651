/** A stand-in for ECS, for one task: order of start, health checks, essential containers, order of stop. */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Running, User } from '../processes.mjs';
import type { TaskPlace } from '../worlds/world.mjs';

/** The part of a synthesised container definition that is supported here. */
export interface ContainerDefinition {
  readonly Name: string;
  readonly Image: string;
  readonly Essential?: boolean;
  readonly EntryPoint?: string[];
  readonly Command?: string[];
  readonly Environment?: { readonly Name: string; readonly Value: string }[];
  readonly Secrets?: { readonly Name: string; readonly ValueFrom: string }[];
  readonly User?: string;
  readonly WorkingDirectory?: string;
  readonly ReadonlyRootFilesystem?: boolean;
  readonly LinuxParameters?: { readonly Capabilities?: { readonly Add?: string[]; readonly Drop?: string[] } };
  readonly DockerSecurityOptions?: string[];
  readonly MountPoints?: { readonly ContainerPath: string; readonly SourceVolume: string; readonly ReadOnly?: boolean }[];
  readonly PortMappings?: { readonly ContainerPort: number }[];
  readonly DependsOn?: { readonly ContainerName: string; readonly Condition: 'START' | 'COMPLETE' | 'SUCCESS' | 'HEALTHY' }[];
  readonly HealthCheck?: HealthCheck;
  readonly StopTimeout?: number;
}

interface HealthCheck {
  readonly Command: string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly Retries?: number;
  readonly StartPeriod?: number;
}

/** A container as it runs here. */
export interface Container {
  readonly definition: ContainerDefinition;
  readonly command: string[];
  readonly env: Record<string, string>;
  readonly user?: User;
}

const defaultStopTimeout = 30;

export class Task {
  /** The reason, after the task has stopped on its own. */
  endedBecause?: string;
  /** Resolves with the reason when the task has stopped on its own. */
  readonly ended: Promise<string>;
  /** Resolves when `stop` has finished. */
  readonly stopped: Promise<void>;
  private readonly runs: Run[];
  private readonly startOrder: Run[] = [];
  private resolveEnded!: (reason: string) => void;
  private resolveStopped!: () => void;
  private stopping = false;

  constructor(containers: Container[], private readonly place: TaskPlace, private readonly logs: string) {
    this.runs = containers.map(container => new Run(container, place));
    this.ended = new Promise(resolve => this.resolveEnded = resolve);
    this.stopped = new Promise(resolve => this.resolveStopped = resolve);
  }

  /** Returns when every container has started and those with a health check are healthy. */
  async start(report: (status: string) => void): Promise<void> {
    await this.place.open();
    await Promise.all(this.runs.map(async run => {
      await this.until(() => run.dependsOn.every(({ ContainerName, Condition }) => this.run(ContainerName).reached(Condition)));
      report(`${run.name} starts`);
      run.start(join(this.logs, `${run.name}.log`), (reason, succeeded) => this.onEnd(run, reason, succeeded));
      this.startOrder.push(run);
      if (run.container.definition.HealthCheck) {
        void run.checkHealth(run.container.definition.HealthCheck, () => this.end(`${run.name} is unhealthy`, run));
        await this.until(() => run.reached('HEALTHY'));
        report(`${run.name} is healthy`);
      }
    }));
  }

  /** Stops dependents first, each with its own `stopTimeout`. */
  async stop(): Promise<void> {
    this.stopping = true;
    for (const run of this.startOrder.reverse()) {
      await run.daemon!.stop(run.container.definition.StopTimeout ?? defaultStopTimeout);
    }
    await this.place.close();
    this.resolveStopped();
  }

  /** The first process of a running container. */
  pid(name: string): number {
    return this.run(name).daemon!.pid;
  }

  private run(name: string): Run {
    const run = this.runs.find(candidate => candidate.name === name);
    if (run === undefined) {
      throw new Error(`the task has no container ${name}`);
    }
    return run;
  }

  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.endedBecause !== undefined || this.stopping) {
        throw new Error(this.endedBecause ?? 'the task is being stopped');
      }
      await sleep(100);
    }
  }

  private onEnd(run: Run, reason: string, succeeded: boolean): void {
    const awaited = this.runs.some(other => other.dependsOn.some(({ ContainerName, Condition }) => ContainerName === run.name && Condition === 'SUCCESS'));
    if (run.container.definition.Essential !== false) {
      this.end(`essential container ${run.name} ended: ${reason}`, run);
    } else if (awaited && !succeeded) {
      this.end(`${run.name} had to succeed, but ended: ${reason}`, run);
    }
  }

  private end(reason: string, run: Run): void {
    if (this.stopping || this.endedBecause !== undefined) {
      return;
    }
    this.endedBecause = `${reason}\n${run.daemon!.lastLines()}`;
    this.resolveEnded(this.endedBecause);
  }
}

class Run {
  daemon?: Running;
  private exitCode?: number;
  private exited = false;
  private healthy = false;

  constructor(readonly container: Container, private readonly place: TaskPlace) {}

  get name(): string {
    return this.container.definition.Name;
  }

  get dependsOn() {
    return this.container.definition.DependsOn ?? [];
  }

  reached(condition: 'START' | 'COMPLETE' | 'SUCCESS' | 'HEALTHY'): boolean {
    switch (condition) {
      case 'START': return this.daemon !== undefined;
      case 'COMPLETE': return this.exited;
      case 'SUCCESS': return this.exitCode === 0;
      case 'HEALTHY': return this.healthy;
    }
  }

  start(log: string, onEnd: (reason: string, succeeded: boolean) => void): void {
    this.daemon = this.place.start(this.container, log);
    void this.daemon.exited.then(({ code, text }) => {
      this.exited = true;
      this.exitCode = code;
      onEnd(text, code === 0);
    });
  }

  /** Runs the health check until the container ends. Failures within the start period do not count. */
  async checkHealth({ Command, Interval = 30, Timeout = 5, Retries = 3, StartPeriod = 0 }: HealthCheck, onUnhealthy: () => void): Promise<void> {
    const [kind, ...command] = Command;
    const words = kind === 'CMD-SHELL' ? ['/bin/sh', '-c', ...command] : command;
    const startPeriodEnds = Date.now() + StartPeriod * 1000;
    let failures = 0;
    for (;;) {
      await sleep(Interval * 1000, undefined, { ref: false });
      if (!this.daemon!.running) {
        return;
      }
      if ((await this.place.run(this.container, words, Timeout)).succeeded) {
        this.healthy = true;
        failures = 0;
      } else if (this.healthy || Date.now() > startPeriodEnds) {
        failures += 1;
      }
      if (failures >= Retries) {
        onUnhealthy();
        return;
      }
    }
  }
}
