/** Starts s3.py with what the template says about the bucket and the task role. */

import { writeFileSync } from 'node:fs';
import { Daemon, untilReady } from './processes.mjs';
import { account, region, type Template } from './template.mjs';

interface Policy {
  readonly PolicyName: string;
  readonly PolicyDocument: unknown;
  readonly Roles?: string[];
}

export interface StoredObject { readonly key: string; readonly size: number }

export class S3 {
  readonly endpoint: string;
  readonly credentialsEndpoint: string;
  private daemon!: Daemon;

  constructor(private readonly template: Template, private readonly port: number) {
    this.endpoint = `http://127.0.0.1:${port}`;
    this.credentialsEndpoint = `${this.endpoint}/try/credentials`;
  }

  async start(python: string, settingsFile: string, log: string): Promise<void> {
    const { TaskRoleArn } = this.template.only<{ TaskRoleArn: string }>('AWS::ECS::TaskDefinition');
    const role = TaskRoleArn.split('/').at(-1)!;
    const roleProperties = this.template.properties<{ AssumeRolePolicyDocument: unknown; ManagedPolicyArns?: string[]; Policies?: Policy[] }>(role);
    if (roleProperties.ManagedPolicyArns) {
      throw new Error(`the task role has managed policies, which are not played here: ${roleProperties.ManagedPolicyArns}`);
    }
    const attached = this.template.all<Policy>('AWS::IAM::Policy').filter(policy => policy.Roles?.includes(role));
    const bucket = this.template.only<{ VersioningConfiguration?: { Status: string } }>('AWS::S3::Bucket');
    writeFileSync(settingsFile, JSON.stringify({
      port: this.port,
      account,
      region,
      bucket: this.bucketName,
      versioned: bucket.VersioningConfiguration?.Status === 'Enabled',
      role,
      trust: roleProperties.AssumeRolePolicyDocument,
      policies: Object.fromEntries([...attached, ...roleProperties.Policies ?? []].map(policy => [policy.PolicyName, policy.PolicyDocument])),
    }));
    this.daemon = new Daemon([python, `${import.meta.dirname}/s3.py`, settingsFile], { env: { PATH: '/usr/bin:/bin' }, log });
    await untilReady(this.daemon, 'S3', () => this.objects());
  }

  get bucketName(): string {
    return this.template.ids('AWS::S3::Bucket')[0].toLowerCase();
  }

  /** Everything in the bucket, past IAM. */
  async objects(): Promise<StoredObject[]> {
    const response = await fetch(`${this.endpoint}/try/objects`);
    return await response.json() as StoredObject[];
  }

  async stop(): Promise<void> {
    await this.daemon?.stop(10);
  }
}
