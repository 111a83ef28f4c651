/** Run by `verify`: compares the arithmetic with a count by hand, and the tables in docs/costs.md with the arithmetic. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { computeMoney, inShort, quantities, templates, type Template } from './money.mjs';
import { fill } from './pages.mjs';
import { Checks } from '../local/checks/checks.mjs';
import { root } from '../local/run.mjs';

/** The quick start counted by hand, at rest and in use: a month of 730 hours, one task, one NAT gateway, two zones, 22 days of 10 hours. */
const byHand = {
  fargateArmCpu: [730, 730],
  fargateArmMemory: [3 * 730, 3 * 730],
  fargateDisk: [730, 730],
  natGateway: [730, 730],
  natData: [1, 20],
  publicAddress: [3 * 730, 3 * 730], // one for the NAT gateway, two for the load balancer
  loadBalancer: [730, 730],
  loadBalancerCapacity: [0, 220],
  auroraCapacity: [0, 220],
  auroraStorage: [10, 10],
  secret: [4, 4], // password, cookies, passphrase; and the existing secret of the client
  hostedZone: [1, 1],
  metric: [37, 37],
  logs: [0.5, 2],
  logStorage: [0.5, 2],
  bucket: [0, 100],
};

export async function checkMoney(): Promise<Checks> {
  const checks = new Checks();
  const [quickStart] = await templates('examples/typescript/quick-start/app.ts', 'Mlflow');
  await checks.check('the quick start has the same quantities as counted by hand', async () => assert.deepEqual(sums(quickStart), byHand));
  await checkOptions(checks);
  await checks.check('only resources that MLflow adds are counted, not shared ones', async () => {
    const [shared, ...more] = await templates('examples/typescript/shared-load-balancer/app.ts', 'Mlflow');
    assert.deepEqual(more, []);
    const { fargateArmCpu, publicAddress, ...rest } = sums(shared);
    assert.deepEqual([fargateArmCpu, publicAddress], [[730 / 4, 730 / 4], [730, 730]]);
    assert.deepEqual(Object.keys(rest).filter(price => ['loadBalancer', 'natGateway', 'metric'].includes(price)), []);
  });
  await checks.check('a resource without a price is an error', async () => {
    const withOne = (Type: string, Properties: object): Template => ({ Resources: { ...quickStart.Resources, One: { Type, Properties } } });
    assert.throws(() => quantities(withOne('AWS::WAFv2::WebACL', {})), /One is an AWS::WAFv2::WebACL/);
    assert.throws(() => quantities(withOne('AWS::ECS::Cluster', { ClusterSettings: [{ Name: 'containerInsights', Value: 'enhanced' }] })), /enhanced/);
    assert.throws(() => quantities(withOne('AWS::Scheduler::Schedule', { ScheduleExpression: 'rate(1 hour)' })), /rate\(1 hour\)/);
  });
  await checkPages(checks);
  return checks;
}

/** The difference of each option from the quick start. */
async function checkOptions(checks: Checks): Promise<void> {
  const options = await templates('bench/options-app.ts', 'Option');
  const option = (name: string) => sums(options.find(({ Description }) => Description!.includes(name))!);
  await checks.check('without NAT gateways: no gateways, but a public address for the task', async () => {
    const { natGateway, natData, ...rest } = byHand;
    assert.deepEqual(option('natGateways: 0'), rest);
  });
  await checks.check('an existing load balancer: no hours and no addresses, but its requests', async () => {
    const { natGateway, natData, publicAddress, loadBalancer, ...rest } = byHand;
    assert.deepEqual(option('listener'), rest);
  });
  await checks.check('Spot: other prices for the same processor and memory', async () => {
    const { fargateArmCpu, fargateArmMemory, ...rest } = byHand;
    assert.deepEqual(option('SPOT'), { ...rest, fargateArmSpotCpu: fargateArmCpu, fargateArmSpotMemory: fargateArmMemory });
  });
  await checks.check('a database that does not pause: always half a capacity unit', async () => {
    assert.deepEqual(option('minAcus'), { ...byHand, auroraCapacity: [730 * 0.5, 220 + (730 - 220) * 0.5] });
  });
  await checks.check('a clean-up: its task, its image and the database that it resumes', async () => {
    const times = 730 / 24 / 7;
    const task = times * 5 / 60;
    const { auroraCapacity, natData, fargateArmCpu } = option('cleanUp');
    const rounded = [auroraCapacity, natData, fargateArmCpu].map(([rest]) => rest.toFixed(6));
    assert.deepEqual(rounded, [task + times * 10 / 60, 1 + times, 730 + task * 0.5].map(value => value.toFixed(6)));
  });
  await checks.check('sessions on the server: always a tenth of a GB, a million requests, and a secret', async () => {
    assert.deepEqual(option('sessionStore'), { ...byHand, secret: [5, 5], sessionStorage: [73, 73], sessionRequests: [0, 1] });
  });
  await checks.check('monitoring: each metric of an alarm', async () => {
    const { alarm, dashboard, metric } = option('addMonitoring');
    assert.deepEqual({ alarm, dashboard, metric }, { alarm: [22, 22], dashboard: [1, 1], metric: [37, 41] });
  });
}

async function checkPages(checks: Checks): Promise<void> {
  const tables = await computeMoney();
  const read = (page: string) => readFileSync(join(root, page), 'utf8');
  await checks.check('the README has the current costs', async () => {
    const page = read('README.md');
    assert.ok(fill(page, tables) === page, 'run `npm run bench -- money --write`');
  });
  await checks.check('docs/costs.md has the current tables', async () => {
    const page = read(join('docs', 'costs.md'));
    const places = [...page.matchAll(/<!-- bench:(.+?) -->/g)].map(([, title]) => title).sort();
    assert.deepEqual(places, tables.map(({ title }) => title).filter(title => title !== inShort).sort());
    const old = tables.filter(table => fill(page, [table]) !== page).map(({ title }) => title);
    assert.ok(old.length === 0, `run \`npm run bench -- money --write\`, because these have changed: ${old.join('; ')}`);
    return `${tables.length} tables`;
  });
}

/** The sums of quantities for each price, at rest and in use. */
function sums(template: Template): Record<string, [rest: number, use: number]> {
  const all: Record<string, [number, number]> = {};
  for (const { price, rest, use } of quantities(template)) {
    const [restBefore, useBefore] = all[price] ?? [0, 0];
    all[price] = [restBefore + rest, useBefore + use];
  }
  return Object.fromEntries(Object.entries(all).filter(([, [, use]]) => use > 0));
}
