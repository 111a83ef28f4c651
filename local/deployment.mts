/** Everything that runs here, wired together from the template alone. */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { createCertificates, type Certificates } from './certificates.mjs';
import { Database, type DatabaseCluster } from './database.mjs';
import { Task, type Container, type ContainerDefinition } from './ecs.mjs';
import { Front } from './front.mjs';
import { IdentityProvider, type Clients } from './identity-provider.mjs';
import { freePort, isFree } from './processes.mjs';
import { S3 } from './s3.mjs';
import { Secrets } from './secrets.mjs';
import { plainEnvironment, Substitutions, type Program } from './substitutions.mjs';
import { region, type Template } from './template.mjs';

const publicPort = 8443;

export interface DeploymentOptions {
  /** Where volumes, data, logs and the CA's certificate go. */
  readonly folder: string;
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
  readonly s3: number;
  readonly issuer: number;
  readonly caBundle: number;
}

export class Deployment {
  static async create(template: Template, options: DeploymentOptions): Promise<Deployment> {
    const ports: Ports = {
      front: publicPort, redirect: await freePort(), database: await freePort(), s3: await freePort(), issuer: await freePort(), caBundle: await freePort(),
    };
    return new Deployment(template, options, ports, await createCertificates());
  }

  readonly url: string;
  /** Where the listener on port 80 is. */
  readonly plainUrl: string;
  readonly caFile: string;
  readonly substitutions: Substitutions;
  readonly database: Database;
  readonly s3: S3;
  readonly issuer: IdentityProvider;
  readonly clients: Clients;
  readonly containers: Container[];
  readonly task: Task;
  private readonly front: Front;
  private readonly caBundle: Server;

  private constructor(readonly template: Template, private readonly options: DeploymentOptions, private readonly ports: Ports, certificates: Certificates) {
    this.url = `https://localhost:${ports.front}`;
    this.plainUrl = `http://localhost:${ports.redirect}`;
    this.caFile = join(options.folder, 'ca.pem');
    const volumes = join(options.folder, 'volumes');
    for (const directory of [this.logs, volumes]) {
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory, { recursive: true });
    }
    writeFileSync(this.caFile, certificates.ca);

    const { ContainerDefinitions: definitions, Volumes } = template.only<{ ContainerDefinitions: ContainerDefinition[]; Volumes: { Name: string }[] }>('AWS::ECS::TaskDefinition');
    for (const { Name } of Volumes) {
      mkdirSync(join(volumes, Name), { mode: 0o755 }); // as Fargate hands them out: empty, and writable for their owner alone
    }

    const secrets = new Secrets(template);
    const [clusterId] = template.ids('AWS::RDS::DBCluster');
    const { Port: databasePort } = template.only<DatabaseCluster>('AWS::RDS::DBCluster');
    this.database = new Database(template, secrets, ports.database, certificates);
    this.s3 = new S3(template, ports.s3);
    this.caBundle = createServer((request, response) => {
      const found = request.url === `/${region}/${region}-bundle.pem`;
      response.writeHead(found ? 200 : 404).end(found ? certificates.ca : '');
    });
    this.substitutions = new Substitutions(definitions, `${template.attribute(clusterId, 'Endpoint.Address')}:${databasePort}`, secrets, {
      publicUrl: this.url,
      issuer: `http://127.0.0.1:${ports.issuer}`,
      database: `localhost:${ports.database}`,
      bucketEndpoint: this.s3.endpoint,
      credentialsEndpoint: this.s3.credentialsEndpoint,
      caBundleOrigin: `http://127.0.0.1:${ports.caBundle}`,
      volumes,
      programs: options.programs,
      declaredUsers: options.declaredUsers,
    });
    this.containers = definitions.map(definition => this.substitutions.container(definition));
    this.task = new Task(this.containers, this.logs);
    const { LoadBalancers: [target] } = template.only<{ LoadBalancers: { ContainerName: string; ContainerPort: number }[] }>('AWS::ECS::Service');
    this.clients = clientsOf(this.container(target.ContainerName));
    this.issuer = new IdentityProvider(ports.issuer, this.clients);
    this.front = new Front(template, { 443: ports.front, 80: ports.redirect }, certificates, target.ContainerPort);
  }

  container(name: string): Container {
    return this.containers.find(({ definition }) => definition.Name === name)!;
  }

  get logs(): string {
    return join(this.options.folder, 'logs');
  }

  /** The template decides the ports of the task, and the redirect URL that of the front. */
  async refuseTakenPorts(): Promise<void> {
    const declared = this.containers.flatMap(({ definition, env }) => [...(definition.PortMappings ?? []).map(({ ContainerPort }) => ContainerPort), Number(env.MLFLOW_PORT)]);
    for (const port of [this.ports.front, ...declared.filter(Number)]) {
      if (!await isFree(port)) {
        throw new Error(`port ${port} of 127.0.0.1 is taken: stop what listens there (another \`npm run try\`?) and try again`);
      }
    }
  }

  async startDatabase(): Promise<void> {
    await this.database.start(join(this.options.folder, 'database'), join(this.logs, 'database.log'));
  }

  async startS3(): Promise<void> {
    await this.s3.start(this.options.awsPython, join(this.options.folder, 's3.json'), join(this.logs, 's3.log'));
  }

  async startIssuer(): Promise<void> {
    await this.issuer.start();
    await new Promise<void>(resolve => this.caBundle.listen(this.ports.caBundle, '127.0.0.1', resolve));
  }

  async startTask(report: (status: string) => void): Promise<void> {
    await this.task.start(report);
    await this.front.start();
  }

  /** In the order in which AWS would: no new requests, then the task, then what it needs. */
  async stop(): Promise<void> {
    this.front.stop();
    await this.task.stop();
    this.issuer.stop();
    this.caBundle.close();
    await Promise.all([this.s3.stop(), this.database.stop()]);
  }
}

function clientsOf({ env, definition }: Container): Clients {
  const [, toolId] = (plainEnvironment(definition).OAUTH2_PROXY_EXTRA_JWT_ISSUERS ?? '').split('=');
  return {
    proxy: { id: env.OAUTH2_PROXY_CLIENT_ID, secret: env.OAUTH2_PROXY_CLIENT_SECRET, redirectUri: env.OAUTH2_PROXY_REDIRECT_URL },
    toolId,
  };
}
