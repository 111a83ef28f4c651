/** Amounts of money: those of the tables of docs/costs.md, which `npm run verify -- costs` compares with the templates, and those computed from them. */

import { find, read } from './deployed.mjs';

/** US dollars a month. */
export function costAtRest(example: string): number {
  return Number(find('docs/costs.md', new RegExp(`^\\| ${example} \\| ([\\d.]+) \\|`, 'm')));
}

/** All that a page may name, with two decimals. */
export function amounts(): string[] {
  return [...costTables().match(/\d+\.\d\d\b/g)!, ...Object.values(derivedAmounts()).map(amount => amount.toFixed(2))];
}

function costTables(): string {
  return read('docs/costs.md').match(/<!-- bench:Cost.+?<!-- \/bench -->/gs)!.join('');
}

/** Those that pages compute from the tables and the prices. */
export function derivedAmounts() {
  const tables = costTables();
  const { prices } = JSON.parse(read('bench/prices.json'));
  const cell = (name: string, example: string) => {
    const [head] = /^\| row \|.*$/m.exec(tables)!;
    const cells = new RegExp(`^\\| ${name} \\|.*$`, 'm').exec(tables)![0].split(' | ');
    return parseFloat(cells[head.split(' | ').findIndex(title => title.replace(' |', '') === example)]);
  };
  const hourly = (price: string, hours = 730) => prices[price].price * hours;
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
    containerInsights: 37 * prices.metric.price,
    task,
    onSpot: costAtRest('shared-load-balancer') - smallest + smallestOnSpot,
    withoutNights: task * (730 - 22 * 13) / 730, // and weekends: 22 days of 13 hours with a task
    saved: costAtRest('cheapest') - costAtRest('shared-load-balancer'),
    trackingServer: hourly('trackingServerSmall', 220),
    valkey: hourly('sessionStorage') / 10, // 100 MB
    node: node * 730,
    nodes: node * 730 * 2,
    cleanUpHour: hourly('fargateArmCpu', 0.5) + hourly('fargateArmMemory', 1),
    databaseTenMinutes: hourly('auroraCapacity', 1 / 6),
    wakeUp: 0.1, // an estimate in docs/sleep.md
  };
}
