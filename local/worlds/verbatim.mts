/**
 * The world as on AWS, simulated in namespaces of Linux: the task runs as it is synthesised. Names resolve to addresses of this network
 * namespace, where the stand-ins listen on the real ports. Each task has its own network namespace behind its security groups, and its
 * containers have what they declare. Everything ends with the process that created it (see `enter.mts`).
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { Containers, isLink, type Mount } from './container.mjs';
import { limitMemory } from './memory.mjs';
import { addressOf, etc, ip, networks, nft } from './namespaces.mjs';
import { SecurityGroups } from './security-groups.mjs';
import { outcomeOf, type AwsVpc, type Outcome, type Settings, type Site, type SiteOptions, type TaskPlace, type TaskPlaceOptions, type Whereabouts, type World } from './world.mjs';
import { authority } from '../aws/certificates.mjs';
import type { Container } from '../aws/ecs.mjs';
import type { Program } from '../aws/substitutions.mjs';
import type { Template } from '../aws/template.mjs';
import { freePort, type Running } from '../processes.mjs';

/** Networks for hosts of the VPC, and for hosts of the internet. */
const inVpc = '10.0.200';
const inInternet = '198.18.0';
/** Link-local addresses, to which security groups do not apply: credentials. */
const linkLocal = '169.254.0.0/16';
/** The other end of each task's network. */
const gateway = '169.254.1.1';
/** Networks of people and their programs. They reach the load balancer if its security group allows it, and the internet. */
const outside: Record<Whereabouts, { readonly namespace: string; readonly address: string }> = {
  'internet': { namespace: 'internet', address: '203.0.113.7' },
  'company network': { namespace: 'company', address: '10.8.0.7' },
};
/** Ports for programs that a check starts in the network of a task. */
const portsOfChecks = '20000-31999';

export class VerbatimWorld implements World {
  readonly verbatim = true;
  private readonly members = new Map<string, string[]>();
  private readonly guarded = new Map<string, readonly string[]>();
  private readonly ranges = new Map<string, { readonly number: number; taken: number }>();
  private readonly s3Addresses: string[] = [];
  private readonly securityGroups: SecurityGroups;
  private readonly containers: Containers;
  private readonly etc: readonly Mount[];
  private readonly trusting: ReadonlyMap<Program, readonly Mount[]>;
  private front = '';

  constructor(private readonly template: Template, private readonly folder: string, private readonly images: readonly Program[]) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    this.securityGroups = new SecurityGroups(template, this.members, this.s3Addresses);
    this.containers = new Containers(folder);
    this.etc = etc(folder);
    this.trusting = new Map(images.map(image => [image, trusting(image, folder)]));
    const services = template.all<AwsVpc>('AWS::ECS::Service');
    const scheduled = template.all<{ Target: { EcsParameters: AwsVpc } }>('AWS::Scheduler::Schedule').map(({ Target }) => Target.EcsParameters);
    [...services, ...scheduled].forEach(({ NetworkConfiguration: { AwsvpcConfiguration: { SecurityGroups: groups } } }) => this.rangeOf(groups));
  }

  /** The address range of tasks with the same groups. */
  private rangeOf(groups: readonly string[]) {
    const known = this.ranges.get(groups.join());
    if (known !== undefined) {
      return known;
    }
    const range = { number: 64 + this.ranges.size, taken: 0 };
    this.ranges.set(groups.join(), range);
    this.join(groups, `10.0.${range.number}.0/24`);
    return range;
  }

  async site(what: string, aws: string, { groups, front = false }: SiteOptions = {}): Promise<Site> {
    const { protocol, hostname, port } = new URL(aws.includes('://') ? aws : `tcp://${aws}`);
    const address = await addressOf(hostname, groups === undefined ? inInternet : inVpc);
    if (groups !== undefined) {
      this.join(groups, address);
      this.guarded.set(address, groups);
    }
    if (`.${hostname}`.endsWith(`.s3.${this.template.region}.amazonaws.com`)) {
      this.s3Addresses.push(address);
    }
    if (front) {
      this.front = address;
    }
    return { what, aws, here: aws, listen: { host: address, port: Number(port) || (protocol === 'https:' ? 443 : 80) } };
  }

  private join(groups: readonly string[], member: string): void {
    groups.forEach(group => this.members.set(group, [...this.members.get(group) ?? [], member]));
  }

  /** Applies the security groups of all members except tasks. Traffic within this machine is not filtered. */
  async open(): Promise<void> {
    for (const { namespace, address } of Object.values(outside).filter(({ namespace: name }) => !existsSync(join(networks, name)))) {
      await connect(namespace, namespace, address);
    }
    const guarded = [...this.guarded];
    await nft(undefined, {
      input: guarded.flatMap(([address, groups]) => [
        ...this.securityGroups.allowed(groups, 'Ingress').map(packets => `iif != lo ip daddr ${address} ${packets} accept`),
        `iif != lo ip daddr ${address} drop`,
      ]),
      output: guarded.flatMap(([address, groups]) => [
        ...this.securityGroups.allowed(groups, 'Egress').map(packets => `oif != lo ip saddr ${address} ${packets} accept`),
        ...address === this.front ? [`oif != lo ip saddr ${address} tcp dport ${portsOfChecks} accept`] : [],
        `oif != lo ip saddr ${address} drop`,
      ]),
    }, 'accept');
  }

  outside(command: readonly string[], where: Whereabouts): string[] {
    return ['nsenter', `--net=${join(networks, outside[where].namespace)}`, ...command];
  }

  taskPlace(_task: number, { name, volumes, memoryMiB, securityGroups }: TaskPlaceOptions): TaskPlace {
    const range = this.rangeOf(securityGroups);
    range.taken += 1;
    const allowed = (direction: 'Ingress' | 'Egress') => this.securityGroups.allowed(securityGroups, direction);
    return new Namespaces({
      name,
      volumes,
      address: `10.0.${range.number}.${range.taken}`,
      front: this.front,
      rules: () => ({
        input: [...allowed('Ingress'), `ip saddr ${this.front} tcp dport ${portsOfChecks}`].map(packets => `${packets} accept`),
        output: [`ip daddr ${linkLocal}`, ...allowed('Egress')].map(packets => `${packets} accept`),
      }),
      containers: this.containers,
      limited: () => limitMemory(dirname(this.folder), name, memoryMiB),
      files: image => this.filesOf(image),
    });
  }

  /** The files of this machine that a container of an image gets. */
  private filesOf(image: string): Mount[] {
    const found = this.images.find(candidate => image.startsWith(`${candidate.image}:`))!;
    return [...found.mounts, ...this.etc, ...this.trusting.get(found)!];
  }
}

/** Creates a network namespace with an address and a link to this namespace. `source` is the address of this namespace for its own connections. */
async function connect(name: string, link: string, address: string, source?: string): Promise<void> {
  await ip([`netns add ${name}`]);
  await ip([
    `link add ${link} type veth peer name eth0 netns ${name}`,
    `address add ${gateway}/32 dev ${link}`,
    `link set ${link} up`,
    `route add ${address}/32 dev ${link}${source === undefined ? '' : ` src ${source}`}`,
  ]);
  await ip([
    'link set lo up',
    `address add ${address}/32 dev eth0`,
    'link set eth0 up',
    `route add ${gateway} dev eth0`,
    `route add default via ${gateway} src ${address}`,
  ], name);
}

interface NamespacesOptions {
  readonly name: string;
  readonly volumes: string;
  readonly address: string;
  readonly front: string;
  readonly rules: () => { readonly input: string[]; readonly output: string[] };
  readonly containers: Containers;
  readonly limited: () => (command: readonly string[]) => string[];
  readonly files: (image: string) => Mount[];
}

/** Sends a listening socket to the parent process, and exits: the parent has the socket then. It stays in the network where it was created. */
const listener = `
  const server = require('node:net').createServer();
  server.listen(Number(process.argv[1]), '127.0.0.1', () => process.send('it listens', server, () => process.exit()));`;
const forwarder = `
  const { connect, createServer } = require('node:net');
  const [, host, port, inner] = process.argv;
  const join = (one, other) => one.pipe(other).on('error', () => one.destroy());
  createServer(outer => { const socket = connect(Number(inner), '127.0.0.1'); join(outer, socket); join(socket, outer); })
    .listen(Number(port), host, () => process.send('it listens'));`;

class Namespaces implements TaskPlace {
  private opened = false;
  private started = 0;
  private limited?: (command: readonly string[]) => string[];
  private readonly names = new Map<Container, string>();

  constructor(private readonly options: NamespacesOptions) {}

  get address(): string {
    return this.options.address;
  }

  private get link(): string {
    return `task${this.address.split('.').slice(2).join('-')}`;
  }

  async open(): Promise<void> {
    if (this.opened) {
      return;
    }
    const { name, address, front } = this.options;
    const { link } = this;
    await connect(name, link, address, front); // connections from here come from the load balancer
    await nft(name, this.options.rules(), 'drop');
    this.limited = this.options.limited();
    this.opened = true;
  }

  start(container: Container, log: string, beside?: 'beside'): Running {
    const { name, containers } = this.options;
    this.started += 1;
    const id = `${name}-${container.definition.Name}-${this.started}`;
    this.names.set(container, id);
    const limited = beside ? (command: readonly string[]) => [...command] : this.limited!;
    return containers.start(id, { container, mounts: this.mounts(container), network: join(networks, name), limited }, log);
  }

  async run(container: Container, command: readonly string[], timeoutSeconds: number, changes?: Settings): Promise<Outcome> {
    const changed = { ...container, env: { ...container.env, ...changes } };
    return outcomeOf(this.limited!(this.options.containers.inside(this.names.get(container)!, changed, command)), timeoutSeconds);
  }

  async listen(server: Server, port: number): Promise<void> {
    const inside = this.inside(listener, [String(port)]);
    const [, socket] = await once(inside, 'message') as [string, Server];
    await once(server.listen(socket), 'listening');
  }

  async expose(port: number): Promise<{ url: string; stop(): Promise<void> }> {
    const free = await freePort();
    const inside = this.inside(forwarder, [this.address, String(free), String(port)]);
    await once(inside, 'message');
    return {
      url: `http://${this.address}:${free}`,
      stop: async () => {
        inside.kill();
        await once(inside, 'exit');
      },
    };
  }

  /** Runs Node in the network of the task, but with the files of this machine. */
  private inside(script: string, args: readonly string[]): ChildProcess {
    const command = [`--net=${join(networks, this.options.name)}`, process.execPath, '--eval', script, ...args];
    return spawn('nsenter', command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  }

  async close(): Promise<void> {
    if (this.opened) {
      this.opened = false;
      await ip([`link delete ${this.link}`, `netns delete ${this.options.name}`]); // the kernel removes the rest of a network with a delay
    }
  }

  private mounts({ definition }: Container): Mount[] {
    const { files, volumes } = this.options;
    return [
      ...files(definition.Image),
      ...(definition.MountPoints ?? []).map(({ ContainerPath: destination, SourceVolume, ReadOnly }) => (
        { source: join(volumes, SourceVolume), destination, writable: !ReadOnly }
      )),
    ];
  }
}

/** The list of certification authorities for programs without their own list. */
const systemTrust = '/etc/ssl/certs/ca-certificates.crt';

/** The image's lists of certification authorities, with the authority of this run. */
function trusting({ trust }: Program, folder: string): Mount[] {
  return [systemTrust, ...trust].map(destination => {
    const source = join(folder, `${createHash('sha256').update(destination).digest('hex')}.pem`);
    writeFileSync(source, `${readFileSync(destination, 'utf8')}\n${authority.cert}`);
    return { source, destination };
  });
}

/** The files of this machine for an image that is made from a Python environment. */
export async function filesOfPython(python: string, environment: string): Promise<Pick<Program, 'mounts' | 'trust'>> {
  const { stdout } = await execa(python, ['-c', 'import botocore, certifi, sys; print(sys.base_prefix, certifi.where(), botocore.__path__[0], sep="\\n")']);
  const [base, certifi, botocore] = stdout.split('\n');
  const folders = ['/usr', ...['/bin', '/sbin', '/lib', '/lib64'].filter(folder => existsSync(folder) && !isLink(folder)), '/etc/ld.so.cache'];
  const paths = [...new Set([...folders, base, environment, realpathSync(environment)])].filter(path => existsSync(path) && !path.startsWith('/usr/'));
  return {
    mounts: paths.map(path => ({ source: path, destination: path })),
    trust: [certifi, join(botocore, 'cacert.pem')].map(file => realpathSync(file)),
  };
}
