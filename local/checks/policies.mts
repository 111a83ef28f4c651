/** The policies of the two roles contain only what is needed: each action of the task role is removed once, and a use of it must fail. */

import assert from 'node:assert/strict';
import type { Checks } from './checks.mjs';
import type { PolicyDocument, Statement } from '../aws/roles.mjs';
import { json, withToken, type Message, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

const artifacts = '/api/2.0/mlflow-artifacts';

/** For each action, a request to MLflow that uses it. */
const uses: Record<string, (ask: Ask) => Promise<number>> = {
  's3:PutObject': ask => ask(`${artifacts}/artifacts/policy/written.txt`, { method: 'PUT', body: 'x' }),
  's3:GetObject': ask => ask(`${artifacts}/artifacts/policy/read.txt`),
  's3:ListBucket': ask => ask(`${artifacts}/artifacts?path=policy`),
  's3:DeleteObject': async ask => {
    await ask(`${artifacts}/artifacts/policy/deleted.txt`, { method: 'DELETE' }); // MLflow answers 200 even if S3 refuses
    return (await ask.objects()).includes('mlflow/policy/deleted.txt') ? 500 : 200;
  },
  's3:AbortMultipartUpload': async ask => {
    const { upload_id: uploadId } = JSON.parse(await ask.text(`${artifacts}/mpu/create/policy`, json({ path: 'parts.bin', num_parts: 1 }))) as { upload_id: string };
    return ask(`${artifacts}/mpu/abort/policy`, json({ path: 'parts.bin', upload_id: uploadId }));
  },
};

interface Ask {
  (path: string, message?: Message): Promise<number>;
  text(path: string, message?: Message): Promise<string>;
  objects(): Promise<string[]>;
}

export async function checkPolicies(checks: Checks, { s3, template, roles, taskRole }: Deployment, send: Send, token: string): Promise<void> {
  const ask: Ask = Object.assign(
    async (path: string, message?: Message) => (await send(path, withToken(token, message))).status,
    {
      text: async (path: string, message?: Message) => (await send(path, withToken(token, message))).body,
      objects: async () => (await s3.objects()).map(({ key }) => key),
    },
  );
  const policies = s3.policies(taskRole);
  const statements = Object.values(policies).flatMap(({ Statement: all }) => all);
  const fill = async () => {
    for (const name of ['read.txt', 'deleted.txt']) {
      await s3.put(`mlflow/policy/${name}`, 'x');
    }
  };

  checks.heading('The role of the task');
  await checks.check('has only the actions that these checks use', async () => {
    assert.deepEqual(statements.flatMap(({ Action }) => Action).sort(), Object.keys(uses).sort());
  });
  for (const [action, use] of Object.entries(uses)) {
    await checks.check(`needs ${action}`, async () => {
      await fill();
      assert.equal(await use(ask), 200, 'the request fails even with the action');
      await fill();
      await s3.setPolicies(taskRole, without(policies, action));
      try {
        const status = await use(ask);
        assert(status >= 400, `the request also succeeds without the action (${status})`);
      } finally {
        await s3.setPolicies(taskRole, policies);
      }
    });
  }

  checks.heading('The execution role');
  const { ExecutionRoleArn, ContainerDefinitions } = template.single<{ ExecutionRoleArn: string; ContainerDefinitions: { Secrets?: { ValueFrom: string }[] }[] }>('AWS::ECS::TaskDefinition');
  const granted = roles.policies(ExecutionRoleArn.split('/').at(-1)!).flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
  await checks.check('may read only the secrets of this task', async () => {
    const wanted = ContainerDefinitions.flatMap(({ Secrets }) => Secrets ?? []).map(({ ValueFrom }) => ValueFrom.split(':').slice(0, 7).join(':').replace(/-\?+$/, ''));
    const readable = resourcesFor(granted, 'secretsmanager:GetSecretValue').map(arn => arn.replace(/-\?+$/, ''));
    assert.deepEqual([...new Set(readable)].sort(), [...new Set(wanted)].sort());
  });
  await checks.check('may write only to the log group of this task, and has no other action', async () => {
    const rest = granted.filter(({ Action }) => ![Action].flat().every(action => action.startsWith('secretsmanager:')));
    assert.deepEqual(rest.flatMap(({ Action }) => Action).sort(), ['logs:CreateLogStream', 'logs:PutLogEvents']);
    const groups = template.ids('AWS::Logs::LogGroup').map(id => template.attribute(id, 'Arn'));
    assert(rest.flatMap(({ Resource }) => Resource).every(resource => groups.includes(resource)), JSON.stringify(rest));
  });
}

function without(policies: Record<string, PolicyDocument>, action: string): Record<string, PolicyDocument> {
  return Object.fromEntries(Object.entries(policies).map(([name, document]) => [name, {
    ...document,
    // A statement needs an action. This action is not used.
    Statement: document.Statement.map(statement => ({ ...statement, Action: [statement.Action].flat().map(one => one === action ? 's3:GetObjectTorrent' : one) })),
  }]));
}

function resourcesFor(statements: Statement[], action: string): string[] {
  return statements.filter(({ Action }) => [Action].flat().includes(action)).flatMap(({ Resource }) => Resource);
}
