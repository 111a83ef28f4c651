/** All programs of a run, connected only by what the template says. */

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { execa } from 'execa';
import { authority, CaBundle, createCertificate, type Certificate } from './aws/certificates.mjs';
import { DatabaseTokens } from './aws/database-tokens.mjs';
import { Database, type DatabaseCluster } from './aws/database.mjs';
import { Task, type Container, type ContainerDefinition } from './aws/ecs.mjs';
import { Front, type FrontOptions, type TargetGroup } from './aws/front.mjs';
import { AccountIssuer } from './aws/issuer.mjs';
import { NetworkProxy } from './aws/network-proxy.mjs';
import { Roles } from './aws/roles.mjs';
import { foreignBucket, S3, TaskCredentials } from './aws/s3.mjs';
import { Secrets } from './aws/secrets.mjs';
import { SessionServer } from './aws/session-server.mjs';
import { plainEnvironment, Substitutions, type Program, type Surroundings } from './aws/substitutions.mjs';
import type { Template } from './aws/template.mjs';
import { client, type Send } from './clients/http.mjs';
import { freePort, tryToListen, untilReady } from './processes.mjs';
import { IdentityProvider, type Clients } from './providers/identity-provider.mjs';
import type { AwsVpc, Settings, Site, TaskPlace, Whereabouts, World } from './worlds/world.mjs';

const caBundleHost = 'truststore.pki.rds.amazonaws.com';
/** The only sign-in provider with a stand-in behind a proxy of the network. */
const googleHost = 'accounts.google.com';

/** Deployments that run at the same time need different places: another folder in the same checkout, and another port if both use the load balancer. */
export interface Place {
  /** The folder for volumes, data, logs and the CA's certificate. */
  readonly folder: string;
  /** The port of the load balancer. The addresses of the tasks are derived from it. */
  readonly port: number;
  /** Settings of containers that a check changes. */
  readonly settings?: Settings;
  /** Images of a check, in addition to those of the task. */
  readonly images?: readonly Program[];
}

interface DeploymentOptions extends Place {
  readonly world: World;
  readonly programs: Program[];
  /** The Python with moto. */
  readonly awsPython: string;
  /** Whether containers get the user they declare. */
  readonly declaredUsers: boolean;
}

/** The stand-ins and their addresses. */
interface Sites {
  readonly publicSite: Site;
  readonly redirect: Site;
  readonly issuers: readonly Site[];
  /** The issuer of the AWS account, and STS, which issues its tokens. */
  readonly account?: { readonly issuer: Site; readonly sts: readonly Site[] };
  /** The provider's own pages, if they are on another host than the issuer. */
  readonly hostedPages: readonly Pick<Site, 'aws' | 'here'>[];
  readonly pages: readonly Site[];
  readonly database: Site;
  readonly sessions?: Site;
  readonly s3: readonly [Site, ...Site[]];
  readonly credentials?: Site;
  readonly caBundle: Site;
  readonly networkProxy?: Site;
}

interface TaskDefinition {
  readonly TaskRoleArn: string;
  /** MiB. */
  readonly Memory: string;
  readonly ContainerDefinitions: ContainerDefinition[];
  readonly Volumes: { readonly Name: string }[];
}

/** The part of the surroundings that all tasks share. */
type SharedSurroundings = Omit<Surroundings, 'taskAddress' | 'volumes' | 'credentialsEndpoint'>;

/** A task of the service with its place. It may be running or not. */
export interface TaskPlan {
  /** Stands in for its loopback and its network interface. */
  readonly address: string;
  readonly place: TaskPlace;
  readonly substitutions: Substitutions;
  readonly containers: Container[];
  readonly logs: string;
  readonly task: Task;
  /** The URL of its proxy. */
  readonly url: string;
  /** The folder that stands in for its disk. */
  readonly disk: string;
}

interface PlanOptions {
  /** Default: that of the service. */
  readonly definition?: TaskDefinition;
  readonly securityGroups?: readonly string[];
  /** A change for a check. */
  readonly change?: (container: ContainerDefinition) => ContainerDefinition;
}

/** Changed settings; undefined removes a setting. */
type Changes = Record<string, string | undefined>;

/** A program that runs next to the task, for a check. */
export interface Beside {
  readonly url: string;
  readonly send: Send;
  readonly pid: number;
  stop(): Promise<void>;
}

/** A server behind a proxy. `server` is the server itself. */
export interface Stack extends Beside {
  readonly server: Beside;
}

/** Options for a server without the inner door. */
export const withoutDoor = { command: ['mlflow', 'server'], env: { PYTHONPATH: undefined, MLFLOW_GUNICORN_OPTS: undefined, MLFLOW_UVICORN_OPTS: '--timeout-keep-alive 120' } };

interface ServerOptions {
  readonly command?: string[];
  readonly env?: Changes;
}

/** Settings of the task from which its surroundings are also made. */
const surrounding = [
  'MLFLOW_ARTIFACTS_DESTINATION', 'OAUTH2_PROXY_CLIENT_ID', 'OAUTH2_PROXY_CLIENT_SECRET', 'OAUTH2_PROXY_EXTRA_JWT_ISSUERS', 'OAUTH2_PROXY_OIDC_ISSUER_URL',
  'OAUTH2_PROXY_REDIRECT_URL', 'PGPASSFILE',
];

interface ScheduledTask {
  readonly Target: { readonly EcsParameters: AwsVpc & { readonly TaskDefinitionArn: string } };
}

interface Target {
  readonly ContainerName: string;
  readonly ContainerPort: number;
  readonly TargetGroupArn: string;
}

interface Service extends AwsVpc {
  readonly LoadBalancers: Target[];
  readonly TaskDefinition: string;
}

export class Deployment {
  static async create(template: Template, options: DeploymentOptions): Promise<Deployment> {
    const { service, task } = serviceOf(template);
    const sites = await sitesOf(template, task, service.LoadBalancers[0].ContainerName, options);
    const { publicSite, issuers, account, pages, database, sessions, s3, caBundle } = sites;
    const played = [publicSite, ...issuers, ...account?.sts ?? [], ...pages, database, ...sessions === undefined ? [] : [sessions], ...s3, caBundle];
    const hosts = played.flatMap(({ aws, listen }) => [new URL(aws.includes('://') ? aws : `tcp://${aws}`).hostname, listen.host]);
    return new Deployment(template, options, sites, await createCertificate(hosts));
  }

  readonly url: string;
  /** The URL of the listener on port 80. */
  readonly plainUrl: string;
  readonly caFile: string;
  readonly database: Database;
  /** Only with IAM authentication. */
  readonly databaseTokens?: DatabaseTokens;
  /** Only if sessions are on the server. */
  readonly sessionServer?: SessionServer;
  /** Only if the tasks reach the internet through a proxy. */
  readonly networkProxy?: NetworkProxy;
  readonly s3: S3;
  readonly roles: Roles;
  readonly secrets: Secrets;
  readonly issuer: IdentityProvider;
  /** The issuer of AWS identity tokens, if the template trusts one. */
  readonly account?: AccountIssuer;
  readonly clients: Clients;
  /** The role of the service's tasks. */
  readonly taskRole: string;
  /** The first task of the service, or the task with which `update` has replaced it. */
  task: Task;
  containers: Container[];
  substitutions: Substitutions;
  /** Stands in for its loopback and its network interface. */
  readonly address: string;
  /** The URL of its proxy, without the load balancer. */
  readonly proxyUrl: string;
  readonly front: Front;
  private readonly surroundings: SharedSurroundings;
  private serviceTask: TaskDefinition;
  private readonly securityGroups: readonly string[];
  private readonly running = new Set<Task>();
  private added = 0;
  private readonly caBundle: CaBundle;
  private readonly credentials?: TaskCredentials;
  private readonly target: Target;
  /** The host on AWS. */
  private readonly publicHost: string;
  /** The place of the first task. */
  place: TaskPlace;

  private constructor(
    public template: Template, private readonly options: DeploymentOptions, readonly sites: Sites, private readonly certificate: Certificate,
  ) {
    this.url = sites.publicSite.here;
    this.plainUrl = sites.redirect.here;
    this.caFile = join(options.folder, 'ca.pem');
    for (const directory of [this.logs, this.volumes]) {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory, { recursive: true });
    }
    writeFileSync(this.caFile, authority.cert);

    const { service, task } = serviceOf(template);
    [this.target] = service.LoadBalancers;
    this.securityGroups = service.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups;
    this.serviceTask = task;
    this.taskRole = roleOf(this.serviceTask);

    this.secrets = new Secrets(template);
    this.roles = new Roles(template, text => text.replaceAll(sites.publicSite.aws, this.url));
    this.database = new Database(template, this.secrets, sites.database, certificate);
    this.sessionServer = sites.sessions === undefined ? undefined : new SessionServer(template, this.secrets, sites.sessions, certificate);
    this.s3 = new S3(template, this.roles, settingsOf(task, 'mlflow').MLFLOW_ARTIFACTS_DESTINATION, sites.s3, certificate);
    this.surroundings = { ...sites, ...options, region: template.region, verbatim: options.world.verbatim, s3: sites.s3[0], caFile: this.caFile };
    this.caBundle = new CaBundle([sites.caBundle], template.region, certificate);
    ({
      address: this.address, place: this.place, substitutions: this.substitutions, containers: this.containers, task: this.task, url: this.proxyUrl,
    } = this.plan(1, ''));
    this.running.add(this.task);
    this.clients = clientsOf(this.proxy, template, sites);
    this.issuer = new IdentityProvider(sites.issuers[0], sites.pages, this.clients, certificate);
    this.account = sites.account === undefined ? undefined : new AccountIssuer(sites.account.issuer, this.roles, sites.account.sts, certificate);
    this.credentials = sites.credentials === undefined ? undefined : new TaskCredentials(sites.credentials, this.s3);
    if (this.container('mlflow').env.PGPASSFILE !== undefined) {
      const [clusterId] = template.ids('AWS::RDS::DBCluster');
      this.databaseTokens = new DatabaseTokens(this.database, this.s3, sites.database.here, template.attribute(clusterId, 'DBClusterResourceId'));
    }
    if (sites.networkProxy !== undefined) {
      const google = sites.issuers.filter(({ aws }) => new URL(aws).hostname === googleHost);
      this.networkProxy = new NetworkProxy(sites.networkProxy, [sites.caBundle, ...google], certificate);
    }
    this.publicHost = new URL(sites.publicSite.aws).hostname;
    this.front = new Front(template, this.frontOf({ 443: sites.publicSite, 80: sites.redirect }), certificate);
  }

  /** Prepares a task in a new place, or in the place of a stopped task. */
  private plan(number: number, name: string, options: PlanOptions = {}): TaskPlan {
    const { definition = this.serviceTask, securityGroups = this.securityGroups, change = same => same } = options;
    const volumes = join(this.volumes, name);
    const place = this.options.world.taskPlace(number, { name: name || 'task-1', volumes, memoryMiB: Number(definition.Memory), securityGroups });
    const { address } = place;
    const role = roleOf(definition);
    const substitutions = new Substitutions(this.serviceTask.ContainerDefinitions, this.secrets, {
      ...this.surroundings,
      taskAddress: address,
      volumes,
      credentialsEndpoint: this.credentials === undefined && !this.options.world.verbatim ? this.s3.credentialsEndpoint(role) : `${TaskCredentials.path}${role}`,
    });
    for (const { Name } of definition.Volumes) {
      rmSync(join(volumes, Name), { recursive: true, force: true });
      mkdirSync(join(volumes, Name), { recursive: true, mode: 0o755 }); // as on Fargate: empty, and writable only for the owner
    }
    const logs = join(this.logs, name);
    mkdirSync(logs, { recursive: true });
    const containers = definition.ContainerDefinitions.map(container => substitutions.container(change(container)));
    const url = `http://${address}:${this.target.ContainerPort}`;
    return { address, place, substitutions, containers, logs, task: new Task(containers, place, logs), url, disk: join(volumes, 'tmp') };
  }

  container(name: string): Container {
    return this.containers.find(({ definition }) => definition.Name === name)!;
  }

  /** An address for another stand-in that the task calls. */
  async site(what: string, aws: string): Promise<Site> {
    return this.options.world.site(what, aws);
  }

  /** A command in the network of the server's users, or in another network. */
  outside(command: readonly string[], where: Whereabouts = this.front.internal ? 'company network' : 'internet'): string[] {
    return this.options.world.outside(command, where);
  }

  /** The path on this machine of a file in a container of the first task. */
  onDisk(container: string, path: string): string {
    const mount = this.verbatim && this.container(container).definition.MountPoints?.find(({ ContainerPath }) => path.startsWith(`${ContainerPath}/`));
    return mount ? join(this.volumes, mount.SourceVolume, path.slice(mount.ContainerPath.length)) : path;
  }

  /** Whether the task runs unchanged. */
  get verbatim(): boolean {
    return this.options.world.verbatim;
  }

  /** The container to which the load balancer sends requests. */
  get proxy(): Container {
    return this.container(this.target.ContainerName);
  }

  /** The target group of the service. */
  private get targetGroup(): TargetGroup {
    return this.front.targetGroup(this.target.TargetGroupArn);
  }

  /** Subjects of bearer tokens that are accepted by name. */
  get machineIdentities(): string[] {
    return this.container('prepare').env.PREPARE_MACHINE_IDENTITIES.split('\n').filter(Boolean);
  }

  /** Starts another proxy with changed or removed settings, for checks that need a weaker one. */
  async startProxy(changes: Changes): Promise<Beside> {
    const { OAUTH2_PROXY_HTTP_ADDRESS: address = `${this.address}:${await freePort()}` } = changes;
    const url = `http://${address}`;
    const env = changed(this.proxy.env, { ...changes, OAUTH2_PROXY_HTTP_ADDRESS: address });
    await this.place.open(); // its task may have ended
    const daemon = this.place.start({ ...this.proxy, env }, join(this.logs, 'weaker-proxies.log'), 'beside');
    await untilReady(daemon, 'oauth2-proxy', () => fetch(`${url}/ping`));
    return { url, send: client(url), pid: daemon.pid, stop: () => daemon.stop(5) };
  }

  /** Starts another proxy, and stops it when `use` has ended. */
  async withProxy<T>(changes: Changes, use: (send: Send) => Promise<T>): Promise<T> {
    const proxy = await this.startProxy(changes);
    try {
      return await use(proxy.send);
    } finally {
      await proxy.stop();
    }
  }

  /** Runs a Python program in MLflow's container. Returns its output. */
  async besideMlflow(program: string, changes?: Settings): Promise<string> {
    const { succeeded, stdout, stderr } = await this.place.run(this.container('mlflow'), ['python', '-c', program], 60, changes);
    assert(succeeded, stderr);
    return stdout;
  }

  /** Starts another MLflow server with the same database and bucket, without a proxy. With another command it has no inner door. */
  async startServer({ command = this.container('mlflow').command, env: changes = {} }: ServerOptions): Promise<Beside> {
    const mlflow = this.container('mlflow');
    const url = `http://${this.address}:${await freePort()}`;
    const { host, hostname, port } = new URL(url);
    const env = changed(mlflow.env, { MLFLOW_HOST: hostname, MLFLOW_PORT: port, MLFLOW_SERVER_ALLOWED_HOSTS: host, MLFLOW_WORKERS: '1', ...changes });
    await this.place.open();
    const daemon = this.place.start({ ...mlflow, command, env }, join(this.logs, 'servers-beside.log'), 'beside');
    await untilReady(daemon, 'mlflow', async () => assertOk(await fetch(`${url}/health`)));
    return { url, send: client(url), pid: daemon.pid, stop: () => daemon.stop(10) };
  }

  /** Starts another server with its own proxy, whose URL is that of MLflow's page. The proxy still closes the assistant. */
  async startStack({ env, ...options }: ServerOptions = {}): Promise<Stack> {
    const address = `${this.address}:${await freePort()}`;
    const server = await this.startServer({ ...options, env: { MLFLOW_SERVER_CORS_ALLOWED_ORIGINS: `http://${address}`, ...env } });
    const closing = this.proxy.env.OAUTH2_PROXY_UPSTREAMS.split(',').slice(1);
    const proxy = await this.startProxy({ OAUTH2_PROXY_HTTP_ADDRESS: address, OAUTH2_PROXY_UPSTREAMS: [`${server.url}/`, ...closing].join(',') });
    return { ...proxy, server, stop: async () => { await proxy.stop(); await server.stop(); } };
  }

  /** Starts MLflow without the inner door, as the target for attacks on the proxy. */
  async startServerWithoutDoor(): Promise<Beside> {
    return this.startServer(withoutDoor);
  }

  /** Starts another load balancer in front of the first task, with another idle timeout. */
  async startFront(idleSeconds: number): Promise<{ readonly url: string; stop(): void }> {
    const [secure, plain] = await Promise.all(['443', '80'].map(async () => ({ listen: { host: this.sites.publicSite.listen.host, port: await freePort() } })));
    const front = new Front(this.template, { ...this.frontOf({ 443: secure, 80: plain }), idleSeconds }, this.certificate);
    await front.start();
    await front.targetGroup(this.target.TargetGroupArn).register(this.proxyUrl, () => this.task.endedBecause);
    return { url: `https://${new URL(this.url).hostname}:${secure.listen.port}`, stop: () => front.stop() };
  }

  private frontOf(sites: FrontOptions['sites']): FrontOptions {
    return { sites, publicHost: this.publicHost, replace: text => this.substitutions.apply(text) };
  }

  /** The load balancer has no target until `use` has ended. */
  async withoutTargets<T>(use: () => Promise<T>): Promise<T> {
    await this.targetGroup.deregister(this.proxyUrl);
    try {
      return await use();
    } finally {
      await this.targetGroup.register(this.proxyUrl, () => this.task.endedBecause);
    }
  }

  get logs(): string {
    return join(this.options.folder, 'logs');
  }

  /** The output of a program so far. */
  log(name: string): string {
    return readFileSync(join(this.logs, `${name}.log`), 'utf8');
  }

  private get volumes(): string {
    return join(this.options.folder, 'volumes');
  }

  /** Throws if a port is in use. The ports of the task are from the template, that of the load balancer is from the place. */
  async refuseTakenPorts(): Promise<void> {
    if (this.options.world.verbatim) {
      return; // every task has its own network
    }
    const declared = this.containers.flatMap(({ definition: { PortMappings = [] }, env }) =>
      [...PortMappings.map(({ ContainerPort }) => ContainerPort), Number(env.MLFLOW_PORT)]);
    const needed = [{ port: this.options.port, address: '127.0.0.1' }, ...declared.filter(Number).map(port => ({ port, address: this.address }))];
    for (const { port, address } of needed) {
      await tryToListen(port, address).catch(({ code, message }: NodeJS.ErrnoException) => {
        throw new Error(code === 'EADDRNOTAVAIL'
          ? `${message}: only Linux has this address by default; on macOS, add it with \`sudo ifconfig lo0 alias ${address}\``
          : `${message}: stop the program that uses the port (another \`npm run try\`?), or use another port with \`npm run try -- --port\``);
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
    await Promise.all([this.issuer.start(), this.account?.start(), this.caBundle.start(), this.credentials?.start(), this.networkProxy?.start()]);
    await this.options.world.open();
  }

  async startTask(report: (status: string) => void): Promise<void> {
    void this.databaseTokens?.follow(this.onDisk('mlflow', this.container('mlflow').env.PGPASSFILE));
    await this.task.start(report);
    await this.front.start();
    await this.targetGroup.register(this.proxyUrl, () => this.task.endedBecause);
  }

  /**
   * Starts another task of the service, at its own address of the loopback (Linux has many), because on AWS each task has its own
   * network. The load balancer sends requests to it when it is healthy, as on AWS.
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

  /** Prepares another task without starting it. */
  nextTask(options: Omit<PlanOptions, 'definition'> = {}): TaskPlan {
    this.added += 1;
    return this.plan(1 + this.added, `task-${1 + this.added}`, options);
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
   * Applies another template: its task replaces the running one, at the same address and with the same data. Returns false if the task is
   * unchanged. Rejected if the templates differ in more than the task.
   */
  async update(template: Template): Promise<boolean> {
    const { service: { TaskDefinition: id }, task: definition } = serviceOf(template);
    const differences = this.template.differences(template);
    const beyond = [
      ...differences.filter(different => different !== id),
      ...surrounding.filter(name => !isDeepStrictEqual(valuesOf(name, definition), valuesOf(name, this.serviceTask))),
    ];
    if (beyond.length > 0) {
      throw new Error(`more than the task changes (${beyond.join(', ')}): start \`npm run try\` again to apply that`);
    }
    if (differences.length === 0 && this.running.has(this.task) && this.task.endedBecause === undefined) {
      return false;
    }
    await this.stopTask({ task: this.task, url: this.proxyUrl });
    this.template = template;
    this.serviceTask = definition;
    const plan = this.plan(1, '');
    ({ task: this.task, place: this.place, containers: this.containers, substitutions: this.substitutions } = plan);
    await this.startAdded(plan);
    return true;
  }

  /**
   * Runs the task of the schedule to its end, next to the service as on AWS, with its own volumes, role and log. It listens on no port.
   * Returns how it ended and its last output.
   */
  async runScheduledTask(changes: Record<string, string> = {}): Promise<string> {
    this.added += 1;
    const { Target: { EcsParameters: { TaskDefinitionArn, NetworkConfiguration } } } = this.template.single<ScheduledTask>('AWS::Scheduler::Schedule');
    const { containers, place, logs } = this.plan(1, `scheduled-${this.added}`, {
      definition: this.template.properties<TaskDefinition>(TaskDefinitionArn),
      securityGroups: NetworkConfiguration.AwsvpcConfiguration.SecurityGroups,
    });
    const task = new Task(containers.map(container => ({ ...container, env: { ...container.env, ...changes } })), place, logs);
    this.running.add(task);
    await task.start(() => undefined).catch(() => undefined); // `ended` has the reason
    const end = await task.ended;
    await task.stop();
    this.running.delete(task);
    return end;
  }

  /** Stops a task as ECS does: no new requests, running requests end, then the containers stop. */
  async stopTask({ task, url }: Pick<TaskPlan, 'task' | 'url'>): Promise<void> {
    await this.targetGroup.deregister(url);
    await task.stop();
    this.running.delete(task);
  }

  /** Stops everything in the order of AWS: no new requests, then the tasks, then the stand-ins. */
  async stop(): Promise<void> {
    this.front.stop();
    await Promise.all([...this.running].map(task => task.stop()));
    await this.place.close();
    this.issuer.stop();
    this.account?.stop();
    this.caBundle.stop();
    this.credentials?.stop();
    this.networkProxy?.stop();
    this.databaseTokens?.stop();
    await Promise.all([this.s3.stop(), this.database.stop(), this.sessionServer?.stop()]);
  }
}

/** The addresses of all services that the template and the settings of the task name. */
async function sitesOf(template: Template, task: TaskDefinition, target: string, { world, port }: DeploymentOptions): Promise<Sites> {
  const proxy = settingsOf(task, target);
  if (proxy.OAUTH2_PROXY_OIDC_ISSUER_URL === undefined || proxy.OAUTH2_PROXY_PROVIDER === 'gitlab') { // GitLab has its own API for members of projects
    throw new Error(`the sign-in with ${proxy.OAUTH2_PROXY_PROVIDER} has no stand-in here, only OpenID Connect has: use another \`authProvider\` on this machine`);
  }
  const origin = new URL(proxy.OAUTH2_PROXY_REDIRECT_URL).origin;
  const balancer = template.single<{ SecurityGroups: string[] }>('AWS::ElasticLoadBalancingV2::LoadBalancer').SecurityGroups;
  const cluster = template.single<DatabaseCluster>('AWS::RDS::DBCluster');
  const [clusterId] = template.ids('AWS::RDS::DBCluster');
  const [sessionsId] = template.ids('AWS::ElastiCache::ServerlessCache');
  const accountIssuer = (proxy.OAUTH2_PROXY_EXTRA_JWT_ISSUERS ?? '').split(',').map(entry => entry.split('=')[0]).find(issuer => issuer.endsWith('.tokens.sts.global.api.aws'));
  const { region } = template;
  const pages = template.ids('AWS::Cognito::UserPoolDomain').map(id => `${template.attribute(id, 'Ref')}.auth.${region}.amazoncognito.com`);
  const { hostname: bucket } = new URL(settingsOf(task, 'mlflow').MLFLOW_ARTIFACTS_DESTINATION);
  const networkProxy = settingsOf(task, 'prepare').HTTPS_PROXY;
  const s3 = `s3.${region}.amazonaws.com`;

  const publicSite = await world.site('public host and port', origin, { port, tls: true, groups: balancer, front: true });
  const issuer = await world.site('issuer', proxy.OAUTH2_PROXY_OIDC_ISSUER_URL);
  const account = accountIssuer === undefined ? undefined : {
    issuer: await world.site('issuer', accountIssuer),
    sts: world.verbatim ? [await world.site('STS', `https://sts.${region}.amazonaws.com`)] : [],
  };
  return {
    publicSite,
    redirect: await world.site('listener on port 80', origin.replace('https:', 'http:'), { name: 'localhost', groups: balancer }),
    issuers: [issuer, ...account === undefined ? [] : [account.issuer]],
    account,
    hostedPages: pages.map(host => ({ aws: host, here: world.verbatim ? host : new URL(issuer.here).host })),
    pages: world.verbatim ? await Promise.all(pages.map(host => world.site('sign-in pages', `https://${host}`))) : [],
    database: await world.site('database endpoint', `${template.attribute(clusterId, 'Endpoint.Address')}:${cluster.Port}`, { groups: cluster.VpcSecurityGroupIds }),
    sessions: sessionsId === undefined ? undefined : await world.site('session store', `${template.attribute(sessionsId, 'Endpoint.Address')}:6379`, {
      groups: template.properties<{ SecurityGroupIds: string[] }>(sessionsId).SecurityGroupIds,
    }),
    s3: [
      await world.site('bucket endpoint', `https://${s3}`),
      ...world.verbatim ? await Promise.all([bucket, foreignBucket].map(name => world.site('bucket', `https://${name}.${s3}`))) : [],
    ],
    credentials: world.verbatim ? await world.site('credentials', 'http://169.254.170.2') : undefined,
    caBundle: await world.site('address of the CA bundle', `https://${caBundleHost}`),
    networkProxy: networkProxy === undefined ? undefined : await world.site('proxy of the network', networkProxy),
  };
}

/** The service and the task of MLflow, in an app that may have others. */
function serviceOf(template: Template): { readonly service: Service; readonly task: TaskDefinition } {
  return template.all<Service>('AWS::ECS::Service')
    .map(service => ({ service, task: template.properties<TaskDefinition>(service.TaskDefinition) }))
    .find(({ task }) => task.ContainerDefinitions.some(({ Name }) => Name === 'mlflow'))!;
}

function settingsOf({ ContainerDefinitions }: TaskDefinition, container: string): Record<string, string> {
  return plainEnvironment(ContainerDefinitions.find(({ Name }) => Name === container)!);
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

/** The client of people's tools, which the load balancer names in its answer, and its redirect URIs. */
function toolsOf(template: Template, { publicSite }: Sites): Clients['tools'] {
  const rules = template.all<{ Conditions: { PathPatternConfig?: { Values: string[] } }[]; Actions: { FixedResponseConfig?: { MessageBody: string } }[] }>('AWS::ElasticLoadBalancingV2::ListenerRule');
  const rule = rules.find(({ Conditions }) => Conditions.some(({ PathPatternConfig }) => PathPatternConfig?.Values.includes('/.well-known/mlflow-secure-tracking')));
  if (rule === undefined) {
    return undefined;
  }
  const { client_id: id } = JSON.parse(rule.Actions[0].FixedResponseConfig!.MessageBody) as { client_id: string };
  const registration = template.ids('AWS::Cognito::UserPoolClient').find(made => template.attribute(made, 'Ref') === id);
  // With Cognito as they are registered, with another provider as the pages describe.
  const [onAws, here] = [publicSite.aws, publicSite.here].map(url => new URL(url).host.replace(':', '_'));
  const registered = registration === undefined
    ? [18417, 18418, 18419].map(port => `http://localhost:${port}/${onAws}`)
    : template.properties<{ CallbackURLs: string[] }>(registration).CallbackURLs;
  return { id, redirectUris: registered.map(uri => uri.replace(onAws, here)) };
}

function clientsOf({ env }: Container, template: Template, sites: Sites): Clients {
  const [, toolId] = new RegExp(`${env.OAUTH2_PROXY_OIDC_ISSUER_URL}=([^,]+)`).exec(env.OAUTH2_PROXY_EXTRA_JWT_ISSUERS ?? '') ?? [];
  const machines = template.ids('AWS::Cognito::UserPoolClient')
    .filter(id => template.properties<{ AllowedOAuthFlows: string[] }>(id).AllowedOAuthFlows.includes('client_credentials'))
    .map(id => ({ id: template.attribute(id, 'Ref'), secret: template.attribute(id, 'ClientSecret') }));
  return {
    proxy: { id: env.OAUTH2_PROXY_CLIENT_ID, secret: env.OAUTH2_PROXY_CLIENT_SECRET, redirectUri: env.OAUTH2_PROXY_REDIRECT_URL },
    toolId,
    tools: toolsOf(template, sites),
    machines,
  };
}
