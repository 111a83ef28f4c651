/** Checks that the metric filters of the monitoring count the right lines of the programs' real output. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JWTPayload } from 'jose';
import { search, statusOfSearch } from './api.mjs';
import type { Checks } from './checks.mjs';
import { lifetime, SigningKey } from '../aws/issuer.mjs';
import { bearer, json, type Send } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';

interface MetricFilter {
  readonly FilterPattern: string;
  readonly MetricTransformations: { readonly MetricName: string }[];
}

/** Returns the lines that the filter of a metric counts. */
type Counted = (metric: string, lines: string[]) => string[];

const failures: [metric: string, what: string, changes: Record<string, string>][] = [
  ['FailedPreparations', 'a failure of prepare', { PGPASSWORD: 'wrong' }],
  ['FailedCleanUps', 'a failure of the clean-up', { CLEAN_UP_OLDER_THAN: 'long' }],
];

export async function checkLogs(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const filters = deployment.template.all<MetricFilter>('AWS::Logs::MetricFilter');
  const counted: Counted = (metric, lines) => {
    const { FilterPattern } = filters.find(({ MetricTransformations }) => MetricTransformations[0].MetricName === metric)!;
    return lines.filter(line => matches(FilterPattern, line));
  };

  checks.heading('The log filters of the monitoring');
  await checkSignIns(checks, deployment, send, token, counted);
  await checks.check('count the start of a task once', async () => {
    const lines = deployment.log('prepare').split('\n');
    assert.equal(counted('TaskStarts', lines).length, 1, lines.join('\n'));
    assert.deepEqual(counted('FailedPreparations', lines), []);
  });
  await checkFailures(checks, deployment, send, counted);
  await checks.check('count the requests that the inner door refuses, and no other line of MLflow', async () => {
    await send(search, { ...json({}), headers: { ...bearer(token), origin: 'https://evil.example' } });
    await sleep(200); // until it is written to the file
    const lines = deployment.log('mlflow').split('\n');
    const refused = lines.filter(line => line.startsWith('secure-mlflow refused 403 '));
    assert(refused.length > 0 && lines.length > refused.length + 10, lines.join('\n'));
    assert.deepEqual(filters.flatMap(({ MetricTransformations: [{ MetricName }] }) => counted(MetricName, lines)), refused);
    return `${refused.length} refused`;
  });
}

async function checkSignIns(checks: Checks, deployment: Deployment, send: Send, token: string, counted: Counted): Promise<void> {
  const { clients, issuer, url } = deployment;
  const tokenOf = (claims: JWTPayload, key = issuer.key) =>
    key.sign({ iss: issuer.issuer, aud: clients.toolId ?? clients.proxy.id, sub: '1', email: 'someone@example.com', email_verified: true, hd: 'example.com', ...lifetime(60), ...claims });
  const showing = async (credentials: string) => statusOfSearch(send, bearer(credentials));
  const refused: Record<string, () => Promise<number>> = {
    'a person of another domain': () => statusOfSignIn(url, 'someone@evil.example'),
    'a bearer token of another domain': async () => showing(await tokenOf({ email: 'someone@evil.example' })),
    'a bearer token whose address has a space': async () => showing(await tokenOf({ email: 'some one@evil.example' })),
    'a bearer token whose address has a line break': async () => showing(await tokenOf({ email: 'someone\n- - [x] [AuthSuccess] @evil.example' })),
    'an expired bearer token': async () => showing(await tokenOf({ exp: Math.floor(Date.now() / 1000) - 1 })),
    'a bearer token of another key': async () => showing(await tokenOf({}, new SigningKey(issuer.key.kid))),
    'an invalid bearer token': () => showing('x'),
  };
  for (const [what, attempt] of Object.entries(refused)) {
    await checks.check(`count ${what}, once`, async () => {
      const lines = await printedMeanwhile(deployment, async () => assert.equal(await attempt(), 403));
      assert.equal(counted('RefusedSignIns', lines).length, 1, lines.join('\n'));
    });
  }
  await checks.check('do not count accepted sign-ins, or requests without a sign-in', async () => {
    const lines = await printedMeanwhile(deployment, async () => {
      assert.equal(await statusOfSignIn(url, 'someone@example.com'), 200);
      assert.equal(await showing(token), 200);
      assert.equal((await send(search)).status, 401);
      assert.equal((await send('/')).status, 403);
    });
    assert(lines.some(line => line.includes('[AuthSuccess]')), 'the sign-in left no line');
    assert.deepEqual(counted('RefusedSignIns', lines), []);
  });
}

async function checkFailures(checks: Checks, deployment: Deployment, send: Send, counted: Counted): Promise<void> {
  for (const [metric, what, changes] of failures) {
    await checks.check(`count ${what}, once`, async () => {
      const end = await deployment.runScheduledTask(changes);
      const found = failures.map(([name]) => [name, counted(name, end.split('\n')).length]);
      assert.deepEqual(found, failures.map(([name]) => [name, name === metric ? 1 : 0]), end);
    });
  }
  await checks.check('do not count successful clean-ups', async () => {
    const end = await deployment.runScheduledTask();
    assert.match(end, /exit code 0\n/);
    assert.deepEqual(failures.flatMap(([metric]) => counted(metric, end.split('\n'))), []);
  });
  await checks.check('do not count a request that contains the word of a failure', async () => {
    const lines = await printedMeanwhile(deployment, () => send(search, { headers: { 'x-request-id': 'FAILED:' } }));
    assert(lines.some(line => line.split(' ')[2] === 'FAILED:'), lines.join('\n'));
    assert.deepEqual(failures.flatMap(([metric]) => counted(metric, lines)), []);
  });
}

/** The lines of oauth2-proxy that an action causes. */
async function printedMeanwhile(deployment: Deployment, action: () => Promise<unknown>): Promise<string[]> {
  const before = deployment.log('oauth2-proxy').length;
  await action();
  await sleep(200); // until it is written to the file
  return deployment.log('oauth2-proxy').slice(before).split('\n');
}

async function statusOfSignIn(url: string, email: string): Promise<number> {
  const person = await Person.meet(email);
  const { status } = await person.open(`${url}/`);
  await person.leave();
  return status;
}

/**
 * Whether CloudWatch would count the line. Supports only the two kinds of patterns that are used, and throws for others.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
 */
function matches(pattern: string, line: string): boolean {
  if (/^(\?"[^"]+" ?)+$/.test(pattern)) { // one of the terms
    return [...pattern.matchAll(/"([^"]+)"/g)].some(([, term]) => line.includes(term));
  }
  const [, inside] = /^\[(.+), \.\.\.\]$/.exec(pattern) ?? [];
  assert(inside !== undefined, `the pattern ${pattern} is not supported here`);
  // Fields are words, or texts in brackets or quotes. A field with a value must be equal to it.
  const words = line.match(/\[[^\]]*\]|"[^"]*"|\S+/g) ?? [];
  return inside.split(', ').every((field, index) => {
    const [, value] = /^\w+(?: = "([^"*]+)")?$/.exec(field) ?? assert.fail(`the field ${field} is not supported here`);
    return index < words.length && (value === undefined || words[index] === value);
  });
}
