/** Starts s3.py with what the template says about the bucket and the task role. */

import { writeFileSync } from 'node:fs';
import { Daemon, untilReady } from './processes.mjs';
import type { PolicyDocument, Roles } from './roles.mjs';
import { account, region, type Template } from './template.mjs';

export interface StoredObject { readonly key: string; readonly size: number }

export class S3 {
  readonly endpoint: string;
  readonly credentialsEndpoint: string;
  /** The Python that has boto3 and moto. */
  python!: string;
  private daemon!: Daemon;

  constructor(private readonly template: Template, private readonly roles: Roles, private readonly port: number) {
    this.endpoint = `http://127.0.0.1:${port}`;
    this.credentialsEndpoint = `${this.endpoint}/try/credentials`;
  }

  async start(python: string, settingsFile: string, log: string): Promise<void> {
    this.python = python;
    const bucket = this.template.only<{ VersioningConfiguration?: { Status: string } }>('AWS::S3::Bucket');
    writeFileSync(settingsFile, JSON.stringify({
      port: this.port,
      account,
      region,
      bucket: this.bucketName,
      versioned: bucket.VersioningConfiguration?.Status === 'Enabled',
      role: this.role,
      trust: this.template.properties<{ AssumeRolePolicyDocument: unknown }>(this.role).AssumeRolePolicyDocument,
      policies: this.policies,
    }));
    this.daemon = new Daemon([python, `${import.meta.dirname}/s3.py`, settingsFile], { env: { PATH: '/usr/bin:/bin' }, log });
    await untilReady(this.daemon, 'S3', () => this.objects());
  }

  private get role(): string {
    const { TaskRoleArn } = this.template.only<{ TaskRoleArn: string }>('AWS::ECS::TaskDefinition');
    return TaskRoleArn.split('/').at(-1)!;
  }

  get bucketName(): string {
    return this.template.ids('AWS::S3::Bucket')[0].toLowerCase();
  }

  /** Everything in the bucket, past IAM. */
  async objects(): Promise<StoredObject[]> {
    const response = await fetch(`${this.endpoint}/try/objects`);
    return await response.json() as StoredObject[];
  }

  async put(key: string, content: string): Promise<void> {
    await fetch(`${this.endpoint}/try/objects/${key}`, { method: 'PUT', body: content });
  }

  /** The policies of the task role, by their names. */
  get policies(): Record<string, PolicyDocument> {
    return Object.fromEntries(this.roles.policies(this.role).map(policy => [policy.PolicyName, policy.PolicyDocument]));
  }

  async setPolicies(policies: Record<string, PolicyDocument>): Promise<void> {
    await fetch(`${this.endpoint}/try/policies`, { method: 'PUT', body: JSON.stringify(policies) });
  }

  async stop(): Promise<void> {
    await this.daemon?.stop(10);
  }
}
