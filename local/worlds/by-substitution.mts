/** Runs everything on the loopback of this machine, with changed settings of the task. Needs no special rights. */

import { once } from 'node:events';
import type { Server } from 'node:net';
import type { Container } from '../aws/ecs.mjs';
import { Daemon, freePort, type Running } from '../processes.mjs';
import { outcomeOf, type Outcome, type Settings, type Site, type SiteOptions, type TaskPlace, type World } from './world.mjs';

/** The default port of the load balancer. */
export const publicPort = 8443;

export class WorldBySubstitution implements World {
  readonly verbatim = false;

  constructor(private readonly port: number) {}

  async site(what: string, aws: string, { port, tls = false, name = '127.0.0.1' }: SiteOptions = {}): Promise<Site> {
    const listen = { host: '127.0.0.1', port: port ?? await freePort() };
    const named = `localhost:${listen.port}`;
    const isUrl = aws.includes('://');
    return { what, aws, listen, here: !isUrl ? named : tls ? `https://${named}` : `http://${name}:${listen.port}` };
  }

  async open(): Promise<void> {}

  outside(command: readonly string[]): string[] {
    return [...command];
  }

  /** 127.0.0.1 for the first task at the usual port, 127.0.0.2 for the second, 127.0.1.1 for the first at the next port: different ports share no address. */
  taskPlace(task: number): TaskPlace {
    const ahead = (this.port - publicPort + 65_536) % 65_536;
    return new Processes(`127.${Math.floor(ahead / 256)}.${ahead % 256}.${task}`);
  }
}

/** Runs containers as processes. */
class Processes implements TaskPlace {
  constructor(readonly address: string) {}

  async open(): Promise<void> {}

  start({ command, env, user }: Container, log: string): Running {
    return new Daemon(command, { env, user, log });
  }

  async run({ env, user }: Container, command: readonly string[], timeoutSeconds: number, changes?: Settings): Promise<Outcome> {
    return outcomeOf(command, timeoutSeconds, { env: { ...env, ...changes }, extendEnv: false, ...user });
  }

  async listen(server: Server, port: number): Promise<void> {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  }

  async expose(port: number): Promise<{ url: string; stop(): Promise<void> }> {
    return { url: `http://${this.address}:${port}`, stop: async () => undefined };
  }

  async close(): Promise<void> {}
}
