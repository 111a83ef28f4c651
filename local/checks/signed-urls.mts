/** The hosts of the URLs that MLflow signs. Only in this check the environment has no endpoint of the stand-in for S3. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { RegionInfo } from 'aws-cdk-lib/region-info';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import type { ContainerDefinition } from '../aws/ecs.mjs';
import { plainEnvironment } from '../aws/substitutions.mjs';
import type { Template } from '../aws/template.mjs';

export async function checkSignedUrls(checks: Checks, python: string, template: Template): Promise<void> {
  checks.heading('The URLs that MLflow signs');
  await checks.check('lead to the endpoint of their region, in every region, to read, write, and write in parts', async () => {
    const environment = serverEnvironment(template);
    const bucket = new URL(environment.MLFLOW_ARTIFACTS_DESTINATION).hostname;
    const { regions } = RegionInfo;
    const environments = Object.fromEntries(regions.map(({ name }) => [name, { ...inRegion(template.region, name, environment), ...credentials }]));
    const { stdout } = await execa(python, [join(import.meta.dirname, 'signed_urls.py')], { input: JSON.stringify(environments), extendEnv: false });
    const expected = regions.map(({ name, domainSuffix }) => [name, Array(3).fill(`${bucket}.s3.${name}.${domainSuffix}`)]);
    assert.deepEqual(JSON.parse(stdout), Object.fromEntries(expected));
    return `${regions.length} regions`;
  });
}

const credentials = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'key' };

function serverEnvironment(template: Template): Record<string, string> {
  const tasks = template.all<{ ContainerDefinitions: ContainerDefinition[] }>('AWS::ECS::TaskDefinition');
  return plainEnvironment(tasks.flatMap(({ ContainerDefinitions }) => ContainerDefinitions).find(({ Name }) => Name === 'mlflow')!);
}

function inRegion(own: string, name: string, environment: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).map(([variable, value]) => [variable, value.replaceAll(own, name)]));
}
