/** The surroundings of a task: names, networks and containers. There are two kinds: as on AWS, or adapted to a machine without root. */

import type { Server } from 'node:net';
import { execa, type Options } from 'execa';
import type { Container } from '../aws/ecs.mjs';
import type { Running } from '../processes.mjs';

/** A part of the settings of a service in ECS, and of a task in the scheduler. */
export interface AwsVpc { readonly NetworkConfiguration: { readonly AwsvpcConfiguration: { readonly SecurityGroups: string[] } } }

/** The address of a stand-in. */
export interface Site {
  /** A description for the output. */
  readonly what: string;
  /** A URL, or host and port, on AWS. */
  readonly aws: string;
  /** The URL, or host and port, in this run. */
  readonly here: string;
  /** The address on which the stand-in listens. */
  readonly listen: { readonly host: string; readonly port: number };
}

export interface SiteOptions {
  /** Its port by substitution. Default: a free port. */
  readonly port?: number;
  /** Whether it also has TLS by substitution. */
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

/** The outcome of a command in a container. */
export interface Outcome {
  readonly succeeded: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** The place of one task. */
export interface TaskPlace {
  /** The address of its network interface. */
  readonly address: string;
  /** Creates the place before a container starts, unless it exists. */
  open(): Promise<void>;
  /** `beside`: the container is not part of the task, so it does not use the task's memory. */
  start(container: Container, log: string, beside?: 'beside'): Running;
  /** Runs a command in a running container, with some of its settings changed. */
  run(container: Container, command: readonly string[], timeoutSeconds: number, changes?: Settings): Promise<Outcome>;
  /** Makes a server listen on a port of the task's loopback. */
  listen(server: Server, port: number): Promise<void>;
  /** A URL at which a port of the task's loopback can be reached from here, until `stop`. */
  expose(port: number): Promise<{ readonly url: string; stop(): Promise<void> }>;
  close(): Promise<void>;
}

/** A network outside the VPC. */
export type Whereabouts = 'internet' | 'company network';

export interface World {
  /** Whether the task runs as it is synthesised. */
  readonly verbatim: boolean;
  site(what: string, aws: string, options?: SiteOptions): Promise<Site>;
  /** Applies the security groups, after all sites have their addresses. */
  open(): Promise<void>;
  /** The command that runs outside the VPC. */
  outside(command: readonly string[], where: Whereabouts): string[];
  /** The place of the service's first task, second … */
  taskPlace(task: number, options: TaskPlaceOptions): TaskPlace;
}

export interface TaskPlaceOptions {
  /** A unique name within a run. */
  readonly name: string;
  /** The folder with a subfolder for each volume. */
  readonly volumes: string;
  readonly memoryMiB: number;
  readonly securityGroups: readonly string[];
}

/** Runs a command in a container, without settings of this machine. */
export async function outcomeOf([program, ...args]: readonly string[], timeoutSeconds: number, options: Options = {}): Promise<Outcome> {
  const { failed, stdout, stderr } = await execa(program, args, { cwd: '/', reject: false, timeout: timeoutSeconds * 1000, stdin: 'ignore', ...options });
  return { succeeded: !failed, stdout: String(stdout), stderr: String(stderr) };
}
