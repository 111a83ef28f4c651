/** What a task runs in: names, networks and containers. One of two: as on AWS, or changed to what a machine has without root. */

import type { Server } from 'node:net';
import { execa, type Options } from 'execa';
import type { Container } from '../aws/ecs.mjs';
import type { Running } from '../processes.mjs';

/** A part of what ECS is told about a service, and the scheduler about a task. */
export interface AwsVpc { readonly NetworkConfiguration: { readonly AwsvpcConfiguration: { readonly SecurityGroups: string[] } } }

/** An address that is played here. */
export interface Site {
  /** What it is, for the reader. */
  readonly what: string;
  /** A URL, or host and port. */
  readonly aws: string;
  /** How it is reached in this run. */
  readonly here: string;
  /** Where what plays it listens. */
  readonly listen: { readonly host: string; readonly port: number };
}

export interface SiteOptions {
  /** Where it is by substitution. Left out: at a free one. */
  readonly port?: number;
  /** Whether it has TLS by substitution, too. */
  readonly tls?: boolean;
  /** Its host by substitution. */
  readonly name?: string;
  /** The security groups that it is in, if it is in the VPC. */
  readonly groups?: readonly string[];
  /** Whether it is the load balancer. */
  readonly front?: boolean;
}

/** Values of environment variables. */
export type Settings = Readonly<Record<string, string>>;

/** Of a command in a container. */
export interface Outcome {
  readonly succeeded: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where one task runs. */
export interface TaskPlace {
  /** Of its network interface. */
  readonly address: string;
  /** Makes it, unless it is there, before a container starts. */
  open(): Promise<void>;
  /** `beside`: not a part of the task, and so not of its memory. */
  start(container: Container, log: string, beside?: 'beside'): Running;
  /** Runs a command in a running container, with some of its settings changed. */
  run(container: Container, command: readonly string[], timeoutSeconds: number, changes?: Settings): Promise<Outcome>;
  /** Has a server listen at a port of the task's loopback. */
  listen(server: Server, port: number): Promise<void>;
  /** An address at which a port of its loopback is reached from here, until `stop`. */
  expose(port: number): Promise<{ readonly url: string; stop(): Promise<void> }>;
  close(): Promise<void>;
}

/** Where somebody is who is not in the VPC. */
export type Whereabouts = 'internet' | 'company network';

export interface World {
  /** Whether the task runs as it is synthesised. */
  readonly verbatim: boolean;
  site(what: string, aws: string, options?: SiteOptions): Promise<Site>;
  /** Closes what the security groups close, once every site has its place. */
  open(): Promise<void>;
  /** A command as it is run outside the VPC. */
  outside(command: readonly string[], where: Whereabouts): string[];
  /** The place of the service's first task, second … */
  taskPlace(task: number, options: TaskPlaceOptions): TaskPlace;
}

export interface TaskPlaceOptions {
  /** One name for each of a run. */
  readonly name: string;
  /** The folder in which each volume has one of its own. */
  readonly volumes: string;
  readonly memoryMiB: number;
  readonly securityGroups: readonly string[];
}

/** Nothing of this machine's settings reaches a command in a container. */
export async function outcomeOf([program, ...args]: readonly string[], timeoutSeconds: number, options: Options = {}): Promise<Outcome> {
  const { failed, stdout, stderr } = await execa(program, args, { cwd: '/', reject: false, timeout: timeoutSeconds * 1000, stdin: 'ignore', ...options });
  return { succeeded: !failed, stdout: String(stdout), stderr: String(stderr) };
}
