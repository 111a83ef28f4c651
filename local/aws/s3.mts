/** Starts s3.py with what the template says about the bucket and the task role. */

import { writeFileSync } from 'node:fs';
import { Daemon, untilReady } from '../processes.mjs';
import type { PolicyDocument, Roles } from './roles.mjs';
import { account, region, type Template } from './template.mjs';

interface BucketProperties { readonly VersioningConfiguration?: { readonly Status: string } }

interface StoredObject { readonly key: string; readonly size: number }

/** A token of RDS, and the address and the resource id of the cluster that it should be for. */
interface DatabaseToken { readonly token: string; readonly endpoint: string; readonly cluster: string }

/** Whom RDS lets in with it, or why not. */
export interface DatabaseTokenAnswer { readonly user?: string; readonly refusal?: string }

export class S3 {
  readonly endpoint: string;
  /** The bucket for artifacts: one of the template's, or one that is brought. */
  readonly bucketName: string;
  /** The folder in it. */
  readonly folder: string;
  /** The Python that has boto3 and moto. */
  python!: string;
  private daemon!: Daemon;

  constructor(private readonly template: Template, private readonly roles: Roles, artifactsDestination: string, private readonly port: number) {
    const { hostname, pathname } = new URL(artifactsDestination);
    this.bucketName = hostname;
    this.folder = pathname.slice(1);
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  async start(python: string, settingsFile: string, log: string): Promise<void> {
    this.python = python;
    const bucket = this.template.ids('AWS::S3::Bucket').find(id => this.template.attribute(id, 'Ref') === this.bucketName);
    writeFileSync(settingsFile, JSON.stringify({
      port: this.port,
      account,
      region,
      bucket: this.bucketName,
      versioned: bucket !== undefined && this.template.properties<BucketProperties>(bucket).VersioningConfiguration?.Status === 'Enabled',
      roles: this.taskRoles.map(name => ({
        name,
        trust: this.template.properties<{ AssumeRolePolicyDocument: unknown }>(name).AssumeRolePolicyDocument,
        policies: this.policies(name),
      })),
    }));
    this.daemon = new Daemon([python, `${import.meta.dirname}/s3.py`, settingsFile], { env: { PATH: '/usr/bin:/bin' }, log });
    await untilReady(this.daemon, 'S3', () => this.objects());
  }

  private get taskRoles(): string[] {
    return this.template.all<{ TaskRoleArn: string }>('AWS::ECS::TaskDefinition').map(({ TaskRoleArn }) => TaskRoleArn.split('/').at(-1)!);
  }

  /** Where a task with this role gets its credentials. */
  credentialsEndpoint(role: string): string {
    return `${this.endpoint}/try/credentials/${role}`;
  }

  /** Everything in the bucket, past IAM. */
  async objects(): Promise<StoredObject[]> {
    const response = await fetch(`${this.endpoint}/try/objects`);
    return await response.json() as StoredObject[];
  }

  async put(key: string, content: string): Promise<void> {
    await fetch(`${this.endpoint}/try/objects/${key}`, { method: 'PUT', body: content });
  }

  /** The policies of a task role, by their names. */
  policies(role: string): Record<string, PolicyDocument> {
    return Object.fromEntries(this.roles.policies(role).map(policy => [policy.PolicyName, policy.PolicyDocument]));
  }

  async setPolicies(role: string, policies: Record<string, PolicyDocument>): Promise<void> {
    await fetch(`${this.endpoint}/try/policies/${role}`, { method: 'PUT', body: JSON.stringify(policies) });
  }

  /** Makes every call fail with a status, or take its time; without either all is well again. */
  async fault({ status = 0, delay = 0 }: { readonly status?: number; readonly delay?: number } = {}): Promise<void> {
    await fetch(`${this.endpoint}/try/fault`, { method: 'PUT', body: JSON.stringify({ status, delay }) });
  }

  async checkDatabaseToken(asked: DatabaseToken): Promise<DatabaseTokenAnswer> {
    const response = await fetch(`${this.endpoint}/try/database-token`, { method: 'POST', body: JSON.stringify(asked) });
    return await response.json() as DatabaseTokenAnswer;
  }

  async stop(): Promise<void> {
    await this.daemon?.stop(10);
  }
}
