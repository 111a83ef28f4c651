/** Starts s3.py with the bucket and the task roles of the template. */

import { writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { pipeline } from 'node:stream';
import { createServer, type Server } from 'node:tls';
import { Daemon, freePort, untilReady } from '../processes.mjs';
import type { Certificate } from './certificates.mjs';
import { PlayedServer } from './played-server.mjs';
import type { PolicyDocument, Roles } from './roles.mjs';
import type { Template } from './template.mjs';
import type { Site } from '../worlds/world.mjs';

/** Another bucket of the account, to which no role has access. */
export const foreignBucket = 'another-bucket';

interface BucketProperties { readonly VersioningConfiguration?: { readonly Status: string } }

interface StoredObject { readonly key: string; readonly size: number }

/** An IAM token for RDS, and the endpoint and the resource id of its cluster. */
interface DatabaseToken { readonly token: string; readonly endpoint: string; readonly cluster: string }

/** The user whom RDS would accept with the token, or why it is refused. */
export interface DatabaseTokenAnswer { readonly user?: string; readonly refusal?: string }

export class S3 {
  /** The endpoint in this run. */
  readonly endpoint: string;
  /** The origin of signed URLs. */
  readonly bucketUrl: string;
  /** The bucket for artifacts: one of the template, or an existing one. */
  readonly bucketName: string;
  /** The folder in the bucket. */
  readonly folder: string;
  /** The Python with boto3 and moto. */
  python!: string;
  private daemon!: Daemon;
  /** The URL of moto, which has no TLS. */
  private origin!: string;
  private readonly doors: Server[] = [];

  /** Listens at each of the sites with TLS, or at one without TLS. */
  constructor(
    private readonly template: Template, private readonly roles: Roles, artifactsDestination: string,
    private readonly sites: readonly [Site, ...Site[]], private readonly certificate: Certificate,
  ) {
    const { hostname, pathname } = new URL(artifactsDestination);
    this.bucketName = hostname;
    this.folder = pathname.slice(1);
    this.endpoint = sites[0].here;
    const bucket = sites.find(({ here }) => new URL(here).hostname.startsWith(`${this.bucketName}.`));
    this.bucketUrl = bucket?.here ?? this.endpoint;
  }

  async start(python: string, settingsFile: string, log: string): Promise<void> {
    this.python = python;
    const byTls = this.endpoint.startsWith('https:');
    const port = byTls ? await freePort() : this.sites[0].listen.port;
    this.origin = `http://127.0.0.1:${port}`;
    const bucket = this.template.ids('AWS::S3::Bucket').find(id => this.template.attribute(id, 'Ref') === this.bucketName);
    writeFileSync(settingsFile, JSON.stringify({
      port,
      account: this.template.account,
      region: this.template.region,
      bucket: this.bucketName,
      foreignBucket,
      versioned: bucket !== undefined && this.template.properties<BucketProperties>(bucket).VersioningConfiguration?.Status === 'Enabled',
      roles: this.taskRoles.map(name => ({
        name,
        trust: this.template.properties<{ AssumeRolePolicyDocument: unknown }>(name).AssumeRolePolicyDocument,
        policies: this.policies(name),
      })),
    }));
    this.daemon = new Daemon([python, `${import.meta.dirname}/s3.py`, settingsFile], { env: { PATH: '/usr/bin:/bin', MOTO_ACCOUNT_ID: this.template.account }, log });
    await untilReady(this.daemon, 'S3', () => this.objects());
    if (byTls) {
      await Promise.all(this.sites.map(({ listen }) => new Promise<void>(resolve => {
        const door = createServer(this.certificate, socket => {
          const there = connect(port, '127.0.0.1');
          pipeline(socket, there, socket, () => undefined);
        });
        this.doors.push(door.listen(listen.port, listen.host, resolve));
      })));
    }
  }

  private get taskRoles(): string[] {
    return this.template.all<{ TaskRoleArn: string }>('AWS::ECS::TaskDefinition').map(({ TaskRoleArn }) => TaskRoleArn.split('/').at(-1)!);
  }

  /** The URL from which a task with this role gets its credentials, by substitution. */
  credentialsEndpoint(role: string): string {
    return `${this.endpoint}/try/credentials/${role}`;
  }

  /** The credentials of a role, in the format of ECS. */
  async credentials(role: string): Promise<string> {
    return (await fetch(`${this.origin}/try/credentials/${role}`)).text();
  }

  /** All objects in the bucket, without IAM. */
  async objects(): Promise<StoredObject[]> {
    const response = await fetch(`${this.origin}/try/objects`);
    return await response.json() as StoredObject[];
  }

  async put(key: string, content: string): Promise<void> {
    await fetch(`${this.origin}/try/objects/${key}`, { method: 'PUT', body: content });
  }

  /** The policies of a task role, by their names. */
  policies(role: string): Record<string, PolicyDocument> {
    return Object.fromEntries(this.roles.policies(role).map(policy => [policy.PolicyName, policy.PolicyDocument]));
  }

  async setPolicies(role: string, policies: Record<string, PolicyDocument>): Promise<void> {
    await fetch(`${this.origin}/try/policies/${role}`, { method: 'PUT', body: JSON.stringify(policies) });
  }

  /** Makes every call fail with a status, or delays it. Without arguments, calls work again. */
  async fault({ status = 0, delay = 0 }: { readonly status?: number; readonly delay?: number } = {}): Promise<void> {
    await fetch(`${this.origin}/try/fault`, { method: 'PUT', body: JSON.stringify({ status, delay }) });
  }

  async checkDatabaseToken(asked: DatabaseToken): Promise<DatabaseTokenAnswer> {
    const response = await fetch(`${this.origin}/try/database-token`, { method: 'POST', body: JSON.stringify(asked) });
    return await response.json() as DatabaseTokenAnswer;
  }

  async stop(): Promise<void> {
    this.doors.forEach(door => door.close());
    await this.daemon?.stop(10);
  }
}

/** A stand-in for the address from which ECS gives a task the credentials of its role. */
export class TaskCredentials extends PlayedServer {
  static readonly path = '/v2/credentials/';

  constructor(site: Site, private readonly s3: S3) {
    super([site]);
  }

  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const role = request.url!.startsWith(TaskCredentials.path) ? request.url!.slice(TaskCredentials.path.length) : undefined;
    response.writeHead(role === undefined ? 404 : 200, { 'content-type': 'application/json' }).end(role === undefined ? '' : await this.s3.credentials(role));
  }
}
