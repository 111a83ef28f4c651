/** Whether the metric filters of the monitoring count what they should, in what the programs really print. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JWTPayload } from 'jose';
import type { Checks } from './checks.mjs';
import { lifetime, SigningKey } from '../aws/issuer.mjs';
import { bearer, type Send } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';

interface MetricFilter {
  readonly FilterPattern: string;
  readonly MetricTransformations: { readonly MetricName: string }[];
}

const search = '/api/2.0/mlflow/experiments/search?max_results=1';

export async function checkLogs(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { clients, issuer, logs, template, url } = deployment;
  const filters = template.all<MetricFilter>('AWS::Logs::MetricFilter');
  const counted = (metric: string, lines: string[]) => {
    const { FilterPattern } = filters.find(({ MetricTransformations }) => MetricTransformations[0].MetricName === metric)!;
    return lines.filter(line => matches(FilterPattern, line));
  };
  /** What oauth2-proxy prints meanwhile. */
  const printed = async (action: () => Promise<unknown>): Promise<string[]> => {
    const file = join(logs, 'oauth2-proxy.log');
    const before = readFileSync(file, 'utf8').length;
    await action();
    await sleep(200); // on its way into the file
    return readFileSync(file, 'utf8').slice(before).split('\n');
  };
  const statusOf = async (credentials: string) => (await send(search, { headers: bearer(credentials) })).status;
  const tokenOf = (claims: JWTPayload, key = issuer.key) =>
    key.sign({ iss: issuer.issuer, aud: clients.toolId ?? clients.proxy.id, sub: '1', email: 'someone@example.com', email_verified: true, hd: 'example.com', ...lifetime(60), ...claims });
  const signIn = async (email: string) => {
    const person = await Person.meet(email);
    const { status } = await person.open(`${url}/`);
    await person.leave();
    return status;
  };

  checks.heading('The log filters of the monitoring');
  const refused: Record<string, () => Promise<number>> = {
    'a person of another domain': () => signIn('someone@evil.example'),
    'a token of another domain': async () => statusOf(await tokenOf({ email: 'someone@evil.example' })),
    'a token whose address has a space': async () => statusOf(await tokenOf({ email: 'some one@evil.example' })),
    'a token whose address has a line break': async () => statusOf(await tokenOf({ email: 'someone\n- - [x] [AuthSuccess] @evil.example' })),
    'a token that has expired': async () => statusOf(await tokenOf({ exp: Math.floor(Date.now() / 1000) - 1 })),
    'a token of another key': async () => statusOf(await tokenOf({}, new SigningKey(issuer.key.kid))),
    'what is no token': () => statusOf('x'),
  };
  for (const [what, attempt] of Object.entries(refused)) {
    await checks.check(`count ${what}, once`, async () => {
      const lines = await printed(async () => assert.equal(await attempt(), 403));
      assert.equal(counted('RefusedSignIns', lines).length, 1, lines.join('\n'));
    });
  }
  await checks.check('count nobody who gets in, nor who has not tried', async () => {
    const lines = await printed(async () => {
      assert.equal(await signIn('someone@example.com'), 200);
      assert.equal(await statusOf(token), 200);
      assert.equal((await send(search)).status, 401);
      assert.equal((await send('/')).status, 403);
    });
    assert(lines.some(line => line.includes('[AuthSuccess]')), 'the sign-in left no line');
    assert.deepEqual(counted('RefusedSignIns', lines), []);
  });
  await checks.check('count one start of the task', async () => {
    const lines = readFileSync(join(logs, 'prepare.log'), 'utf8').split('\n');
    assert.equal(counted('TaskStarts', lines).length, 1, lines.join('\n'));
    assert.deepEqual(counted('FailedPreparations', lines), []);
  });
  const failures: [metric: string, what: string, changes: Record<string, string>][] = [
    ['FailedPreparations', 'a failure of prepare', { PGPASSWORD: 'wrong' }],
    ['FailedCleanUps', 'a failure of the clean-up', { CLEAN_UP_OLDER_THAN: 'long' }],
  ];
  for (const [metric, what, changes] of failures) {
    await checks.check(`count ${what}, once`, async () => {
      const end = await deployment.runScheduledTask(changes);
      const found = failures.map(([name]) => [name, counted(name, end.split('\n')).length]);
      assert.deepEqual(found, failures.map(([name]) => [name, name === metric ? 1 : 0]), end);
    });
  }
  await checks.check('count no clean-up that succeeds', async () => {
    const end = await deployment.runScheduledTask();
    assert.match(end, /exit code 0\n/);
    assert.deepEqual(failures.flatMap(([metric]) => counted(metric, end.split('\n'))), []);
  });
  await checks.check('count no failure that a request merely tells of', async () => {
    const lines = await printed(() => send(search, { headers: { 'x-request-id': 'FAILED:' } }));
    assert(lines.some(line => line.split(' ')[2] === 'FAILED:'), lines.join('\n'));
    assert.deepEqual(failures.flatMap(([metric]) => counted(metric, lines)), []);
  });
  await checks.check('count nothing of what MLflow prints', async () => {
    const lines = readFileSync(join(logs, 'mlflow.log'), 'utf8').split('\n');
    assert(lines.length > 10, 'MLflow has printed nothing');
    assert.deepEqual(filters.flatMap(({ MetricTransformations: [{ MetricName }] }) => counted(MetricName, lines)), []);
  });
}

/**
 * Whether CloudWatch would count the line. Of its patterns those two that are used here; any other throws.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
 */
function matches(pattern: string, line: string): boolean {
  if (/^(\?"[^"]+" ?)+$/.test(pattern)) { // one of the terms
    return [...pattern.matchAll(/"([^"]+)"/g)].some(([, term]) => line.includes(term));
  }
  const [, inside] = /^\[(.+), \.\.\.\]$/.exec(pattern) ?? [];
  assert(inside !== undefined, `${pattern} is not played here`);
  // Fields: words, or what is in brackets or quotes. Those that have a value must have exactly that.
  const words = line.match(/\[[^\]]*\]|"[^"]*"|\S+/g) ?? [];
  return inside.split(', ').every((field, index) => {
    const [, value] = /^\w+(?: = "([^"*]+)")?$/.exec(field) ?? assert.fail(`${field} is not played here`);
    return index < words.length && (value === undefined || words[index] === value);
  });
}
