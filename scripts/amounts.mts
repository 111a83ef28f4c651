/** Amounts of money: those of the tables of docs/costs.md, which `npm run verify -- costs` compares with the templates, and those computed from them. */

import { find, read } from './deployed.mjs';

/** Of a month, in the computation of the tables. */
export const hoursOfMonth = Number(find('bench/money.mts', /^const hours = (\d+);/m));
export const metricsOfContainerInsights = Number(find('bench/money.mts', /^const containerInsightsMetrics = (\d+);/m));

/** US dollars a month of an example, or of an option more than the quick start. */
export function costAtRest(name: string): number {
  return parseFloat(rowOf(name)[1]);
}

function rowOf(name: string): string[] {
  const row = costTables().split('\n').map(line => line.replace(/^\| | \|$/g, '').split(' | ')).find(([first]) => first === name);
  if (row === undefined) {
    throw new Error(`docs/costs.md has no row "${name}": correct scripts/`);
  }
  return row;
}

function costTables(): string {
  return read('docs/costs.md').match(/<!-- bench:Cost.+?<!-- \/bench -->/gs)!.join('');
}

/** All that pages name in their text, except `costAtRest`: from a row of the tables, or computed from the tables and the prices. */
export function namedAmounts() {
  const { prices } = JSON.parse(read('bench/prices.json'));
  const cell = (row: string, example: string) => parseFloat(rowOf(row)[rowOf('row').indexOf(example)]);
  const hourly = (price: string, hours = hoursOfMonth) => prices[price].price * hours;
  const smallest = cell('Fargate', 'shared-load-balancer');
  const smallestOnSpot = hourly('fargateArmSpotCpu') / 4 + hourly('fargateArmSpotMemory') + hourly('fargateDisk');
  const task = smallest + hourly('publicAddress');
  const node = 0.0128; // cache.t4g.micro, which docs/costs.md names with its page
  return {
    natGateway: hourly('natGateway'),
    address: hourly('publicAddress'),
    loadBalancer: hourly('loadBalancer'),
    secret: prices.secret.price,
    key: prices.key.price,
    containerInsights: metricsOfContainerInsights * prices.metric.price,
    task,
    zone: cell('hosted zone', 'shared-load-balancer'),
    storage: cell('Aurora, storage', 'shared-load-balancer'),
    secrets: cell('secrets', 'shared-load-balancer'),
    logs: cell('logs', 'shared-load-balancer'),
    onSpot: costAtRest('shared-load-balancer') - smallest + smallestOnSpot,
    withoutNights: task * (hoursOfMonth - 22 * 13) / hoursOfMonth, // and weekends: 22 days of 13 hours with a task
    saved: costAtRest('cheapest') - costAtRest('shared-load-balancer'),
    trackingServer: hourly('trackingServerSmall', 220),
    valkey: hourly('sessionStorage') / 10, // 100 MB
    node: node * hoursOfMonth,
    nodes: node * hoursOfMonth * 2,
    cleanUpHour: hourly('fargateArmCpu', 0.5) + hourly('fargateArmMemory', 1),
    databaseTenMinutes: hourly('auroraCapacity', 1 / 6),
    wakeUp: 0.1, // an estimate in docs/sleep.md
  };
}
