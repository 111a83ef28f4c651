/** Everything that runs here, wired together from the template alone. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { execa } from 'execa';
import { CaBundle, createCertificates, type Certificates } from './aws/certificates.mjs';
import { DatabaseTokens } from './aws/database-tokens.mjs';
import { Database, type DatabaseCluster } from './aws/database.mjs';
import { Task, type Container, type ContainerDefinition } from './aws/ecs.mjs';
import { Front, type TargetGroup } from './aws/front.mjs';
import { AccountIssuer } from './aws/issuer.mjs';
import { NetworkProxy } from './aws/network-proxy.mjs';
import { Roles } from './aws/roles.mjs';
import { S3 } from './aws/s3.mjs';
import { Secrets } from './aws/secrets.mjs';
import { SessionServer } from './aws/session-server.mjs';
import { caBundleHost, plainEnvironment, Substitutions, type Program, type Surroundings } from './aws/substitutions.mjs';
import { region, type Template } from './aws/template.mjs';
import { client, type Send } from './clients/http.mjs';
import { Daemon, freePort, tryToListen, untilReady } from './processes.mjs';
import { IdentityProvider, type Clients } from './providers/identity-provider.mjs';

/** Where the load balancer listens, if nothing else is said. */
export const publicPort = 8443;
/** The one sign-in provider that is played behind a proxy of the network. */
const googleHost = 'accounts.google.com';

/** Two deployments at a time need a place of their own each: two of one checkout another folder, two that use the load balancer another port. */
export interface Place {
  /** Where volumes, data, logs and the CA's certificate go. */
  readonly folder: string;
  /** Where the load balancer listens. The addresses of the tasks follow from it. */
  readonly port: number;
}

interface DeploymentOptions extends Place {
  readonly programs: Program[];
  /** The Python that has moto. */
  readonly awsPython: string;
  /** Whether containers get the user they declare. */
  readonly declaredUsers: boolean;
}

interface Ports {
  readonly front: number;
  readonly redirect: number;
  readonly database: number;
  readonly sessions: number;
  readonly s3: number;
  readonly caBundle: number;
  readonly networkProxy: number;
  readonly issuer: number;
  readonly account: number;
}

interface TaskDefinition {
  readonly TaskRoleArn: string;
  readonly ContainerDefinitions: ContainerDefinition[];
  readonly Volumes: { readonly Name: string }[];
}

/** What all tasks have in common of what surrounds them. */
type SharedSurroundings = Omit<Surroundings, 'taskAddress' | 'volumes' | 'credentialsEndpoint'>;

/** A task of the service that has its place: not yet, or already running. */
export interface TaskPlan {
  /** Stands for its loopback and its network interface. */
  readonly address: string;
  readonly substitutions: Substitutions;
  readonly containers: Container[];
  readonly logs: string;
  readonly task: Task;
  /** Where its proxy listens. */
  readonly url: string;
  /** The folder that stands for its disk. */
  readonly disk: string;
}

/** Settings that differ, or, where undefined, are missing. */
type Changes = Record<string, string | undefined>;

/** A program that runs beside the task, for a check. */
export interface Beside {
  readonly url: string;
  readonly send: Send;
  readonly pid: number;
  stop(): Promise<void>;
}

/** A server and a proxy in front of it. The other address is the server's own, behind the proxy. */
export interface Stack extends Beside {
  readonly server: Beside;
}

/** What takes the inner door away from a server. */
export const withoutDoor = { command: ['mlflow', 'server'], env: { PYTHONPATH: undefined, MLFLOW_GUNICORN_OPTS: undefined, MLFLOW_UVICORN_OPTS: '--timeout-keep-alive 120' } };

interface ServerOptions {
  readonly command?: string[];
  readonly env?: Changes;
}

/** Settings of the task that what surrounds it is made from, too. */
const surrounding = [
  'MLFLOW_ARTIFACTS_DESTINATION', 'OAUTH2_PROXY_CLIENT_ID', 'OAUTH2_PROXY_CLIENT_SECRET', 'OAUTH2_PROXY_EXTRA_JWT_ISSUERS', 'OAUTH2_PROXY_OIDC_ISSUER_URL',
  'OAUTH2_PROXY_REDIRECT_URL', 'PGPASSFILE',
];

interface ScheduledTask {
  readonly Target: { readonly EcsParameters: { readonly TaskDefinitionArn: string } };
}

interface Target {
  readonly ContainerName: string;
  readonly ContainerPort: number;
  readonly TargetGroupArn: string;
}

interface Service {
  readonly LoadBalancers: Target[];
  readonly TaskDefinition: string;
}

export class Deployment {
  static async create(template: Template, options: DeploymentOptions): Promise<Deployment> {
    const ports: Ports = {
      front: options.port,
      redirect: await freePort(),
      database: await freePort(),
      sessions: await freePort(),
      s3: await freePort(),
      caBundle: await freePort(),
      networkProxy: await freePort(),
      issuer: await freePort(),
      account: await freePort(),
    };
    return new Deployment(template, options, ports, await createCertificates([caBundleHost, googleHost]));
  }

  readonly url: string;
  /** Where the listener on port 80 is. */
  readonly plainUrl: string;
  readonly caFile: string;
  readonly database: Database;
  /** Where the server signs in to the database by IAM. */
  readonly databaseTokens?: DatabaseTokens;
  /** Where sessions are, if not in the cookie. */
  readonly sessionServer?: SessionServer;
  /** Where the tasks reach the internet through one. */
  readonly networkProxy?: NetworkProxy;
  readonly s3: S3;
  readonly roles: Roles;
  readonly secrets: Secrets;
  readonly issuer: IdentityProvider;
  /** The issuer of tokens of AWS roles, where the template trusts one. */
  readonly account?: AccountIssuer;
  readonly clients: Clients;
  /** The role of the service's tasks. */
  readonly taskRole: string;
  /** The first task of the service, or what `update` has replaced it by. */
  task: Task;
  containers: Container[];
  substitutions: Substitutions;
  /** Stands for its loopback and its network interface. */
  readonly address: string;
  /** Where its proxy listens, past the load balancer. */
  readonly proxyUrl: string;
  readonly front: Front;
  private readonly surroundings: SharedSurroundings;
  private readonly databaseEndpoint: string;
  private serviceTask: TaskDefinition;
  private readonly running = new Set<Task>();
  private added = 0;
  private readonly caBundle: CaBundle;
  private readonly target: Target;
  /** On AWS. */
  private readonly publicHost: string;

  private constructor(
    public template: Template, private readonly options: DeploymentOptions, private readonly ports: Ports,
    private readonly certificates: Certificates,
  ) {
    this.url = `https://localhost:${ports.front}`;
    this.plainUrl = `http://localhost:${ports.redirect}`;
    this.caFile = join(options.folder, 'ca.pem');
    for (const directory of [this.logs, this.volumes]) {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory, { recursive: true });
    }
    writeFileSync(this.caFile, certificates.ca);

    const service = serviceOf(template);
    [this.target] = service.LoadBalancers;
    this.serviceTask = template.properties(service.TaskDefinition);
    const settingsOf = (container: string) => plainEnvironment(this.serviceTask.ContainerDefinitions.find(({ Name }) => Name === container)!);
    this.taskRole = roleOf(this.serviceTask);
    const proxy = settingsOf(this.target.ContainerName);
    const { issuers, accountIssuer } = issuersOf(proxy, ports);

    this.secrets = new Secrets(template);
    this.roles = new Roles(template, text => text.replaceAll(new URL(proxy.OAUTH2_PROXY_REDIRECT_URL).origin, this.url));
    const [clusterId] = template.ids('AWS::RDS::DBCluster');
    this.databaseEndpoint = `${template.attribute(clusterId, 'Endpoint.Address')}:${template.single<DatabaseCluster>('AWS::RDS::DBCluster').Port}`;
    this.database = new Database(template, this.secrets, ports.database, certificates);
    const [sessionsId] = template.ids('AWS::ElastiCache::ServerlessCache');
    this.sessionServer = sessionsId === undefined ? undefined : new SessionServer(template, this.secrets, ports.sessions, certificates);
    this.s3 = new S3(template, this.roles, settingsOf('mlflow').MLFLOW_ARTIFACTS_DESTINATION, ports.s3);
    this.surroundings = this.surroundingsWith(issuers, settingsOf('prepare').HTTPS_PROXY);
    const { caBundleOrigin, networkProxy } = this.surroundings;
    this.caBundle = new CaBundle(caBundleOrigin, certificates.ca);
    ({
      address: this.address, substitutions: this.substitutions, containers: this.containers, task: this.task, url: this.proxyUrl,
    } = this.plan(this.addressOf(1), ''));
    this.running.add(this.task);
    this.clients = clientsOf(this.proxy, template);
    this.issuer = new IdentityProvider(issuers.get(proxy.OAUTH2_PROXY_OIDC_ISSUER_URL)!, this.clients);
    this.account = accountIssuer === undefined ? undefined : new AccountIssuer(issuers.get(accountIssuer)!, this.roles);
    if (this.container('mlflow').env.PGPASSFILE !== undefined) {
      this.databaseTokens = new DatabaseTokens(this.database, this.s3, this.surroundings.database, template.attribute(clusterId, 'DBClusterResourceId'));
    }
    if (networkProxy !== undefined) {
      const hosts = { [caBundleHost]: caBundleOrigin, [googleHost]: this.issuer.issuer };
      this.networkProxy = new NetworkProxy(networkProxy.here, hosts, certificates);
    }
    this.publicHost = new URL(proxy.OAUTH2_PROXY_REDIRECT_URL).hostname;
    this.front = new Front(template, { ports: { 443: ports.front, 80: ports.redirect }, publicHost: this.publicHost }, certificates);
  }

  private surroundingsWith(issuers: Map<string, string>, networkProxy: string | undefined): SharedSurroundings {
    const { template, ports, caFile, options: { programs, declaredUsers } } = this;
    const [sessionsId] = template.ids('AWS::ElastiCache::ServerlessCache');
    const hostedPages = template.ids('AWS::Cognito::UserPoolDomain').map(id => `${template.attribute(id, 'Ref')}.auth.${region}.amazoncognito.com`);
    return {
      publicUrl: this.url,
      issuers,
      hostedPages: new Map(hostedPages.map(host => [host, `127.0.0.1:${ports.issuer}`])),
      database: `localhost:${ports.database}`,
      ...sessionsId !== undefined && {
        sessions: { aws: `${template.attribute(sessionsId, 'Endpoint.Address')}:6379`, here: `localhost:${ports.sessions}`, caFile },
      },
      bucketEndpoint: this.s3.endpoint,
      caBundleOrigin: `http://127.0.0.1:${ports.caBundle}`,
      ...networkProxy !== undefined && { networkProxy: { aws: networkProxy, here: `http://127.0.0.1:${ports.networkProxy}`, caFile } },
      programs,
      declaredUsers,
    };
  }

  private plan(address: string, name: string, definition = this.serviceTask): TaskPlan {
    const volumes = join(this.volumes, name);
    const substitutions = new Substitutions(this.serviceTask.ContainerDefinitions, this.databaseEndpoint, this.secrets, {
      ...this.surroundings, taskAddress: address, volumes, credentialsEndpoint: this.s3.credentialsEndpoint(roleOf(definition)),
    });
    for (const { Name } of definition.Volumes) {
      rmSync(join(volumes, Name), { recursive: true, force: true });
      mkdirSync(join(volumes, Name), { recursive: true, mode: 0o755 }); // as Fargate hands them out: empty, and writable for their owner alone
    }
    const logs = join(this.logs, name);
    mkdirSync(logs, { recursive: true });
    const containers = definition.ContainerDefinitions.map(container => substitutions.container(container));
    return { address, substitutions, containers, logs, task: new Task(containers, logs), url: `http://${address}:${this.target.ContainerPort}`, disk: join(volumes, 'tmp') };
  }

  container(name: string): Container {
    return this.containers.find(({ definition }) => definition.Name === name)!;
  }

  /** The container that the load balancer talks to. */
  get proxy(): Container {
    return this.container(this.target.ContainerName);
  }

  /** What the load balancer sends requests to. */
  private get targetGroup(): TargetGroup {
    return this.front.targetGroup(this.target.TargetGroupArn);
  }

  /** Subjects of tokens that it lets in by name. */
  get machineIdentities(): string[] {
    return this.container('prepare').env.PREPARE_MACHINE_IDENTITIES.split('\n').filter(Boolean);
  }

  /** Starts one more proxy, with some settings changed or, where undefined, removed: for checks that need a weaker one. */
  async startProxy(changes: Changes): Promise<Beside> {
    const { OAUTH2_PROXY_HTTP_ADDRESS: address = `127.0.0.1:${await freePort()}` } = changes;
    const url = `http://${address}`;
    const env = changed(this.proxy.env, { ...changes, OAUTH2_PROXY_HTTP_ADDRESS: address });
    const daemon = new Daemon(this.proxy.command, { env, user: this.proxy.user, log: join(this.logs, 'weaker-proxies.log') });
    await untilReady(daemon, 'oauth2-proxy', () => fetch(`${url}/ping`));
    return { url, send: client(url), pid: daemon.pid, stop: () => daemon.stop(5) };
  }

  /** The same until `use` has ended. */
  async withProxy<T>(changes: Changes, use: (send: Send) => Promise<T>): Promise<T> {
    const proxy = await this.startProxy(changes);
    try {
      return await use(proxy.send);
    } finally {
      await proxy.stop();
    }
  }

  /** Starts one more MLflow server on the same database and bucket, without a proxy. With another command it may lack the inner door. */
  async startServer({ command = this.container('mlflow').command, env: changes = {} }: ServerOptions): Promise<Beside> {
    const { env, user } = this.container('mlflow');
    const url = `http://${this.address}:${await freePort()}`;
    const { host, port } = new URL(url);
    const daemon = new Daemon(command, {
      env: changed(env, { MLFLOW_PORT: port, MLFLOW_SERVER_ALLOWED_HOSTS: host, MLFLOW_WORKERS: '1', ...changes }), user, log: join(this.logs, 'servers-beside.log'),
    });
    await untilReady(daemon, 'mlflow', async () => assertOk(await fetch(`${url}/health`)));
    return { url, send: client(url), pid: daemon.pid, stop: () => daemon.stop(10) };
  }

  /** The same with a proxy of its own in front: MLflow's page is at the address of that one. What closes the assistant in the proxy stays. */
  async startStack({ env, ...options }: ServerOptions = {}): Promise<Stack> {
    const address = `127.0.0.1:${await freePort()}`;
    const server = await this.startServer({ ...options, env: { MLFLOW_SERVER_CORS_ALLOWED_ORIGINS: `http://${address}`, ...env } });
    const closing = this.proxy.env.OAUTH2_PROXY_UPSTREAMS.split(',').slice(1);
    const proxy = await this.startProxy({ OAUTH2_PROXY_HTTP_ADDRESS: address, OAUTH2_PROXY_UPSTREAMS: [`${server.url}/`, ...closing].join(',') });
    return { ...proxy, server, stop: async () => { await proxy.stop(); await server.stop(); } };
  }

  /** MLflow as it is without the inner door: what an attack on the proxy has to reach. */
  async startServerWithoutDoor(): Promise<Beside> {
    return this.startServer(withoutDoor);
  }

  /** One more load balancer in front of the first task, which waits for another time where a connection is idle. */
  async startFront(idleSeconds: number): Promise<{ readonly url: string; stop(): void }> {
    const ports = { 443: await freePort(), 80: await freePort() };
    const front = new Front(this.template, { ports, publicHost: this.publicHost, idleSeconds }, this.certificates);
    await front.start();
    await front.targetGroup(this.target.TargetGroupArn).register(this.proxyUrl, () => this.task.endedBecause);
    return { url: `https://localhost:${ports[443]}`, stop: () => front.stop() };
  }

  get logs(): string {
    return join(this.options.folder, 'logs');
  }

  /** What a program has printed so far. */
  log(name: string): string {
    return readFileSync(join(this.logs, `${name}.log`), 'utf8');
  }

  private get volumes(): string {
    return join(this.options.folder, 'volumes');
  }

  /** 127.0.0.1 for the first task at the usual port, 127.0.0.2 for the second, 127.0.1.1 for the first at the next port: no two ports share one. */
  private addressOf(task: number): string {
    const ahead = (this.ports.front - publicPort + 65_536) % 65_536;
    return `127.${Math.floor(ahead / 256)}.${ahead % 256}.${task}`;
  }

  /** The template decides the ports of the task, the place where the load balancer listens. */
  async refuseTakenPorts(): Promise<void> {
    const declared = this.containers.flatMap(({ definition: { PortMappings = [] }, env }) =>
      [...PortMappings.map(({ ContainerPort }) => ContainerPort), Number(env.MLFLOW_PORT)]);
    const needed = [{ port: this.ports.front, address: '127.0.0.1' }, ...declared.filter(Number).map(port => ({ port, address: this.address }))];
    for (const { port, address } of needed) {
      await tryToListen(port, address).catch(({ code, message }: NodeJS.ErrnoException) => {
        throw new Error(code === 'EADDRNOTAVAIL'
          ? `${message}: only Linux has such an address without being told; on macOS \`sudo ifconfig lo0 alias ${address}\` adds it`
          : `${message}: stop what listens there (another \`npm run try\`?), or take another port with \`npm run try -- --port\``);
      });
    }
  }

  async startDatabase(): Promise<void> {
    await this.database.start(join(this.options.folder, 'database'), join(this.logs, 'database.log'));
  }

  async startSessionServer(): Promise<void> {
    await this.sessionServer?.start(join(this.options.folder, 'sessions'), join(this.logs, 'sessions.log'));
  }

  async startS3(): Promise<void> {
    await this.s3.start(this.options.awsPython, join(this.options.folder, 's3.json'), join(this.logs, 's3.log'));
  }

  async startIssuers(): Promise<void> {
    await Promise.all([this.issuer.start(), this.account?.start(), this.caBundle.start(), this.networkProxy?.start()]);
  }

  async startTask(report: (status: string) => void): Promise<void> {
    void this.databaseTokens?.follow(this.container('mlflow').env.PGPASSFILE);
    await this.task.start(report);
    await this.front.start();
    await this.targetGroup.register(this.proxyUrl, () => this.task.endedBecause);
  }

  /**
   * Starts one more task of the service, at an address of the loopback of its own (Linux has many): on AWS each has a network of
   * its own. The load balancer gets to know it as it does there, when it is healthy.
   */
  async addTask({ diskMiB }: { readonly diskMiB?: number } = {}): Promise<TaskPlan> {
    const plan = this.nextTask();
    if (diskMiB !== undefined) {
      await execa('mount', ['-t', 'tmpfs', '-o', `size=${diskMiB}m`, 'tmpfs', plan.disk]);
      void plan.task.stopped.then(() => execa('umount', [plan.disk]));
    }
    await this.startAdded(plan);
    return plan;
  }

  /** The same in two steps: not started yet. */
  nextTask(): TaskPlan {
    this.added += 1;
    return this.plan(this.addressOf(1 + this.added), `task-${1 + this.added}`);
  }

  async startAdded(plan: TaskPlan, report: (status: string) => void = () => undefined): Promise<void> {
    this.running.add(plan.task);
    try {
      await plan.task.start(report);
      await this.targetGroup.register(plan.url, () => plan.task.endedBecause);
    } catch (error) {
      await this.stopTask(plan);
      throw error;
    }
  }

  /**
   * Takes another template up: its task replaces the one that runs, at the same address, and finds everything there as it was. Returns false
   * where there is nothing to replace, and is rejected where the templates differ in more than the task.
   */
  async update(template: Template): Promise<boolean> {
    const { TaskDefinition: id } = serviceOf(template);
    const definition = template.properties<TaskDefinition>(id);
    const differences = this.template.differences(template);
    const beyond = [
      ...differences.filter(different => different !== id),
      ...surrounding.filter(name => !isDeepStrictEqual(valuesOf(name, definition), valuesOf(name, this.serviceTask))),
    ];
    if (beyond.length > 0) {
      throw new Error(`more than the task changes (${beyond.join(', ')}): start \`npm run try\` again to take that up`);
    }
    if (differences.length === 0 && this.running.has(this.task) && this.task.endedBecause === undefined) {
      return false;
    }
    await this.stopTask({ task: this.task, url: this.proxyUrl });
    this.template = template;
    this.serviceTask = definition;
    const plan = this.plan(this.address, '');
    ({ task: this.task, containers: this.containers, substitutions: this.substitutions } = plan);
    await this.startAdded(plan);
    return true;
  }

  /**
   * Runs the task that the schedule starts to its end, beside the service as on AWS: with volumes, a role and a log of its own. It listens
   * nowhere. Returns how it ended and what it printed last.
   */
  async runScheduledTask(changes: Record<string, string> = {}): Promise<string> {
    this.added += 1;
    const { Target: { EcsParameters: { TaskDefinitionArn } } } = this.template.single<ScheduledTask>('AWS::Scheduler::Schedule');
    const { containers, logs } = this.plan(this.address, `scheduled-${this.added}`, this.template.properties<TaskDefinition>(TaskDefinitionArn));
    const task = new Task(containers.map(container => ({ ...container, env: { ...container.env, ...changes } })), logs);
    this.running.add(task);
    await task.start(() => undefined).catch(() => undefined); // the reason is below
    const end = await task.ended;
    await task.stop();
    this.running.delete(task);
    return end;
  }

  /** As ECS replaces a task: no new requests, those in flight end, then the containers. */
  async stopTask({ task, url }: Pick<TaskPlan, 'task' | 'url'>): Promise<void> {
    await this.targetGroup.deregister(url);
    await task.stop();
    this.running.delete(task);
  }

  /** In the order in which AWS would: no new requests, then the task, then what it needs. */
  async stop(): Promise<void> {
    this.front.stop();
    await Promise.all([...this.running].map(task => task.stop()));
    this.issuer.stop();
    this.account?.stop();
    this.caBundle.stop();
    this.networkProxy?.stop();
    this.databaseTokens?.stop();
    await Promise.all([this.s3.stop(), this.database.stop(), this.sessionServer?.stop()]);
  }
}

/** What stands for each issuer that the proxy trusts, and which of them is AWS. */
function issuersOf(proxy: Record<string, string>, ports: Ports): { issuers: Map<string, string>; accountIssuer?: string } {
  const extraIssuers = (proxy.OAUTH2_PROXY_EXTRA_JWT_ISSUERS ?? '').split(',').map(entry => entry.split('=')[0]);
  const accountIssuer = extraIssuers.find(issuer => issuer.endsWith('.tokens.sts.global.api.aws'));
  const issuers = new Map([[proxy.OAUTH2_PROXY_OIDC_ISSUER_URL, `http://127.0.0.1:${ports.issuer}`]]);
  if (accountIssuer !== undefined) {
    issuers.set(accountIssuer, `http://127.0.0.1:${ports.account}`);
  }
  return { issuers, accountIssuer };
}

/** MLflow's, in an app that may have others. */
function serviceOf(template: Template): Service {
  const containersOf = ({ TaskDefinition: id }: Service) => template.properties<TaskDefinition>(id).ContainerDefinitions;
  return template.all<Service>('AWS::ECS::Service').find(service => containersOf(service).some(({ Name }) => Name === 'mlflow'))!;
}

function changed(env: Record<string, string>, changes: Changes): Record<string, string> {
  return Object.fromEntries(Object.entries({ ...env, ...changes }).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function assertOk({ ok, status }: Response): void {
  if (!ok) {
    throw new Error(`status ${status}`);
  }
}

function valuesOf(name: string, { ContainerDefinitions }: TaskDefinition): Set<object> {
  const settings = ContainerDefinitions.flatMap(definition => [...definition.Environment ?? [], ...definition.Secrets ?? []]);
  return new Set(settings.filter(({ Name }) => Name === name));
}

function roleOf({ TaskRoleArn }: TaskDefinition): string {
  return TaskRoleArn.split('/').at(-1)!;
}

function clientsOf({ env }: Container, template: Template): Clients {
  const [, toolId] = new RegExp(`${env.OAUTH2_PROXY_OIDC_ISSUER_URL}=([^,]+)`).exec(env.OAUTH2_PROXY_EXTRA_JWT_ISSUERS ?? '') ?? [];
  const machines = template.ids('AWS::Cognito::UserPoolClient')
    .filter(id => template.properties<{ AllowedOAuthFlows: string[] }>(id).AllowedOAuthFlows.includes('client_credentials'))
    .map(id => ({ id: template.attribute(id, 'Ref'), secret: template.attribute(id, 'ClientSecret') }));
  return {
    proxy: { id: env.OAUTH2_PROXY_CLIENT_ID, secret: env.OAUTH2_PROXY_CLIENT_SECRET, redirectUri: env.OAUTH2_PROXY_REDIRECT_URL },
    toolId,
    machines,
  };
}
