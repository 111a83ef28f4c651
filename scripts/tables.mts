/** Whole tables of the pages, and the defaults in comments of the API, against the code. */

import { Duration, RemovalPolicy, Token } from 'aws-cdk-lib';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as rds from 'aws-cdk-lib/aws-rds';
import ts from 'typescript';
import { read, synthesise } from './deployed.mjs';
import { failWith, withDigits } from './prose.mjs';
import type { Checks } from '../local/checks/checks.mjs';
import { AccessLevel } from '../src/access.js';
import { withDefaults } from '../src/defaults.js';
import { ALARMS, type AlarmDefinition } from '../src/parts/alarms.js';
import { ArtifactTransfer, DatabaseAuthentication, FargateCapacity, type SecureMlflowProps } from '../src/props.js';
import { SessionStore } from '../src/session-store.js';
import { databaseEnvironment, databaseParameters, iamDatabaseEnvironment, tokenEnvironment } from '../src/settings/database.js';
import { cleanUpEnvironment, mlflowEnvironment, prepareEnvironment, RESERVED_MLFLOW_NAMES, type MlflowOptions } from '../src/settings/mlflow.js';
import { networkProxyEnvironment } from '../src/settings/network-proxy.js';
import { PROVIDER_NAMES, proxyEnvironment, RESERVED_PROXY_NAMES, SESSION_PORT, type ProxyOptions } from '../src/settings/oauth2-proxy.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- templates have no types */

type Row = string[];

/** The cells of the tables below a heading, up to the next heading of any level; without those of the head. */
function rowsBelow(path: string, heading: RegExp): Row[] {
  const section = read(path).split(/^(?=#+ )/m).find(text => heading.test(text.split('\n')[0]));
  if (section === undefined) {
    throw new Error(`${path} has no heading ${heading}`);
  }
  return section.split('\n').filter(line => line.startsWith('|')).map(cellsOf).filter((_, index, all) => !isRule(all[index]) && !isRule(all[index + 1] ?? []));
}

const isRule = (cells: Row) => cells.length > 0 && cells.every(cell => /^:?-+:?$/.test(cell));
const cellsOf = (line: string) => line.replace(/^\| *| *\|$/g, '').split(/ *(?<!\\)\| */);
const inBackticks = (text: string) => Array.from(text.matchAll(/`([^`]+)`/g), ([, code]) => code);

/** The parts in the table and the constructs that define their resources, whose ids begin with these names. */
const parts = { 'network': 'Network', 'way in': 'Ingress', 'database': 'Database', 'artifacts': 'Artifacts', 'service': 'Service' };

function wrongParts(): string[] {
  const ids = Object.keys(synthesise());
  const rows = rowsBelow('README.md', /^## What gets created/);
  const counted = Object.entries(parts).map(([part, id]) => [part, String(ids.filter(each => each.startsWith(`Mlflow${id}`)).length)]);
  const others = ids.filter(id => !Object.values(parts).some(part => id.startsWith(`Mlflow${part}`)));
  return [
    ...others.map(id => `README.md: ${id} belongs to no part of the table`),
    ...counted.filter(([part, count]) => !rows.some(row => row[0] === part && row[1] === count)).map(([part, count]) => `README.md: the part "${part}" has ${count} resources`),
  ];
}

/** Compares threshold, time and "for each task" of a text with the alarm. The time of an alarm with one period may be left out. */
function wrongAlarm(at: string, name: string, period: number, says: string): string[] {
  const alarm: AlarmDefinition = ALARMS[name as keyof typeof ALARMS];
  const text = withDigits(says.replace(/\bhundred\b/g, '100')).replace(/\btwice\b/, '2 times').replace(/99 of 100|p99/g, '');
  const [, inARow] = /(\d+) (?:times|periods) in a row/.exec(text) ?? [];
  const threshold = new RegExp(`(?<![\\d.])${alarm.threshold}(?![\\d.])`).exec(text);
  const [said] = Array.from(text.matchAll(/(\d+) (minute|hour|day|week)s?\b/g)).filter(({ index }) => index !== threshold?.index);
  const minutes = said && Number(said[1]) * { minute: 1, hour: 60, day: 1440, week: 10_080 }[said[2] as 'minute' | 'hour' | 'day' | 'week'];
  const time = inARow === undefined ? period * alarm.evaluationPeriods : period;
  return [
    ...threshold ? [] : [`the threshold is ${alarm.threshold}`],
    ...minutes === undefined || minutes === time ? [] : [`the time is ${time} minutes`],
    ...inARow === undefined || Number(inARow) === alarm.evaluationPeriods ? [] : [`${alarm.evaluationPeriods} periods in a row`],
    ...minutes === undefined && inARow === undefined && alarm.evaluationPeriods > 1 ? [`a time is missing: ${time} minutes`] : [],
    ...[/\b(?:an?|per|every) (?!row\b)\w+/.exec(text) ?? []].flat().map(unit => `the unit of "${unit}" is unknown`),
    ...text.includes('each task') === (alarm.forEachTask ?? false) ? [] : ['for each task, or not'],
  ].map(problem => `${at} ${name}: "${says}", but ${problem}`);
}

/** Minutes of a period, for every alarm that exists. */
function periodsOfAlarms(): Record<string, number> {
  const resources = Object.entries(synthesise({ cleanUp: { olderThan: Duration.days(30) } }, { monitored: true }));
  return Object.fromEntries(resources.filter(([, { Type }]) => Type === 'AWS::CloudWatch::Alarm').map(([id, { Properties: { Period, Metrics } }]) => {
    const [, name] = /Monitoring(\w+)[0-9A-F]{8}$/.exec(id)!;
    const seconds = Period ?? Metrics.find((metric: any) => metric.MetricStat).MetricStat.Period;
    return [name[0].toLowerCase() + name.slice(1), seconds / 60];
  }));
}

function wrongAlarms(): string[] {
  const periods = periodsOfAlarms();
  const rows = rowsBelow('docs/monitoring.md', /^## Alarms/).map(([name, ...cells]) => [...inBackticks(name), ...cells]);
  const named = rows.map(([name]) => name);
  const all = Object.keys(periods);
  const comments = defaultsIn('src/monitoring-options.ts').filter(({ owner }) => owner === 'MonitoringThresholds');
  return [
    ...[...new Set([...all, ...named])].filter(name => !all.includes(name) || !named.includes(name)).map(name => `docs/monitoring.md: ${name} must be both an alarm and a row`),
    ...rows.filter(([name]) => all.includes(name)).flatMap(([name, rings]) => wrongAlarm('docs/monitoring.md', name, periods[name], rings)),
    ...comments.flatMap(({ name, text }) => wrongAlarm('src/monitoring-options.ts', name, periods[name], text.replace(/^- /, '').split(':')[0])),
  ];
}

/** Placeholders of the page for values that are only known at a deployment. */
const place = { url: 'https://<domainName>', region: '<region>', artifactsUri: 's3://<bucket>/<path>' };
const mlflowOptions: MlflowOptions = {
  ...place, ...settingsOfDefaults(), addressesOnly: true, signOutUrl: 'mlflow.signOutUrl',
};
const proxyOptions: ProxyOptions = {
  url: place.url, clientId: '', providerEnvironment: {}, bearerTokens: true, emailDomains: [''], machines: false, trustedTokenIssuers: [], sessionDuration: withDefaults({} as SecureMlflowProps).sessionDuration,
};

function settingsOfDefaults() {
  const { workers, artifactTransfer, requestLimits: { apiMiB, tracesMiB } } = withDefaults({} as SecureMlflowProps);
  return { workers, artifactTransfer, apiLimit: apiMiB, tracesLimit: tracesMiB };
}

/** The port of the example is a number, the page has a placeholder. */
function withoutPort(environment: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, value.replace(':3128', ':<port>')]));
}

interface Section {
  readonly heading: RegExp;
  /** The table leaves it out of its names. */
  readonly prefix?: string;
  readonly byDefault: Record<string, string>;
  readonly withEverything?: Record<string, string>;
  /** Other names that the table may have: refused names, those of providers, secrets. A `*` at the end stands for any end. */
  readonly more?: string[];
}

const sections: Section[] = [
  {
    heading: /^## .*the database$/,
    byDefault: databaseEnvironment('<endpoint>'),
    withEverything: iamDatabaseEnvironment('<endpoint>'),
    more: ['PGPASSWORD'],
  },
  {
    heading: /^## `prepare` alone/,
    byDefault: prepareEnvironment(place.region, ''),
    more: ['PREPARE_IAM_USER', 'PREPARE_SCHEMA'],
  },
  {
    heading: /^## `mlflow` alone/,
    byDefault: mlflowEnvironment(mlflowOptions),
    withEverything: mlflowEnvironment({ ...mlflowOptions, hostedDomains: [''], accessPolicy: '', aiGateway: { privateProviders: [''] } }),
    more: [...Object.keys(RESERVED_MLFLOW_NAMES), 'MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY'],
  },
  {
    heading: /^### A proxy of the network/,
    byDefault: withoutPort(networkProxyEnvironment(place.region, { host: '<host>', port: 3128 })),
  },
  {
    heading: /^## `database-token`/,
    byDefault: { DATABASE_TOKEN_SECONDS: tokenEnvironment(place.region).DATABASE_TOKEN_SECONDS },
  },
  {
    heading: /^## `clean-up`/,
    byDefault: { CLEAN_UP_OLDER_THAN: cleanUpEnvironment({ ...place, olderThan: Duration.days(30) }).CLEAN_UP_OLDER_THAN },
  },
  {
    heading: /^## `oauth2-proxy`/,
    prefix: 'OAUTH2_PROXY_',
    byDefault: proxyEnvironment(proxyOptions),
    withEverything: proxyEnvironment({
      ...proxyOptions,
      hostedDomains: [''],
      sessionRefresh: Duration.hours(1),
      signOutUrl: 'https://x',
      toolsClient: { clientId: '' } as ProxyOptions['toolsClient'],
      sessionServer: { host: '<host>', port: 6379, username: 'oauth2-proxy' },
    }),
    more: Object.keys({ ...PROVIDER_NAMES, ...RESERVED_PROXY_NAMES }),
  },
  {
    heading: /^## The database's parameter group/,
    byDefault: databaseParameters,
    more: ['engineVersion', 'backupRetention', 'databaseInsightsMode', 'snapshotIdentifier'],
  },
];

/** Cells that describe a value because each deployment has its own. */
const inWords = /^(?:the |yours|empty|`cleanUp\.)/;

function wrongSettings({ heading, prefix = '', byDefault, withEverything = {}, more = [] }: Section): string[] {
  const known = Object.keys({ ...byDefault, ...withEverything });
  const may = (name: string) => [...known, ...more].some(each => each.endsWith('*') ? name.startsWith(each.slice(0, -1)) : name === each);
  const full = (name: string) => name.startsWith('…') ? known.find(each => each.endsWith(name.slice(1))) ?? name : [name, prefix + name].find(may) ?? prefix + name;
  const rows = rowsBelow('docs/settings.md', heading)
    .map(([variable, value]) => ({ names: inBackticks(variable).filter(name => !name.includes('=')).map(full), value: value.split('; ')[0], codes: inBackticks(value) }))
    .filter(({ names }) => names.length > 0);
  const named = rows.flatMap(({ names }) => names);
  const wrongValues = rows.flatMap(({ names, value, codes }) => names.flatMap((name, index) => {
    const actual = byDefault[name];
    if (actual === undefined) {
      const sometimes = withEverything[name]; // compared if the page shows a value
      const problem = [`${name} is sometimes \`${sometimes}\`, and the page says ${codes.join(', ')}`];
      const isSaid = !sometimes || Token.isUnresolved(sometimes) || codes.length === 0 || codes.includes(sometimes);
      return !may(name) ? [`${name} is set nowhere`] : isSaid ? [] : problem;
    }
    const said = inBackticks(value);
    const [address, query] = actual.split('?');
    const expected = query === undefined ? actual : `${address}?…`;
    const isSaid = inWords.test(value) || [said[index], ...said.length === 1 ? said : []].includes(expected);
    return isSaid ? [] : [`${name} is \`${actual}\`, and the page says ${value}`];
  }));
  const parameters = Object.values(byDefault).flatMap(value => value.split('?')[1]?.split('&') ?? []);
  return [
    ...known.filter(name => !named.includes(name)).map(name => `${name} is missing`),
    ...wrongValues,
    ...parameters.filter(parameter => !read('docs/settings.md').includes(`\`${parameter}\``)).map(parameter => `${parameter} is missing`),
  ].map(problem => `docs/settings.md, ${heading}: ${problem}`);
}

interface Default { readonly owner: string; readonly name: string; readonly text: string; readonly at: string }

function defaultsIn(path: string): Default[] {
  const file = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true);
  return file.statements.filter(ts.isInterfaceDeclaration).flatMap(owner => owner.members.filter(ts.isPropertySignature).flatMap(member => {
    const tag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === 'default');
    const text = ts.getTextOfJSDocComment(tag?.comment);
    const at = `${path}:${file.getLineAndCharacterOfPosition(member.getStart(file)).line + 1}`;
    return text === undefined ? [] : [{ owner: owner.name.text, name: member.name.getText(file), text, at }];
  }));
}

/** The defaults of the code by interface and prop. */
function defaultsOfCode(): Record<string, Record<string, unknown>> {
  const props = withDefaults({ scaling: { maxCount: 1 }, cleanUp: { olderThan: Duration.days(30) }, access: {} } as SecureMlflowProps);
  const inCookie = !JSON.stringify(synthesise()).includes('OAUTH2_PROXY_SESSION_STORE_TYPE');
  return {
    SecureMlflowProps: {
      ...props,
      sessionStore: inCookie ? SessionStore.cookie() : undefined,
      databaseAuthentication: props.iamAuthentication ? DatabaseAuthentication.IAM : DatabaseAuthentication.PASSWORD,
    },
    DatabaseCapacity: props.databaseCapacity,
    DatabaseOptions: props.databaseOptions,
    ScalingOptions: { ...props.scaling },
    RequestLimits: props.requestLimits,
    CleanUpOptions: { ...props.cleanUp },
    AccessOptions: { ...props.access },
    ExistingSessionStoreOptions: { port: SESSION_PORT },
  };
}

const names = { AccessLevel, ArtifactTransfer, DatabaseAuthentication, Duration, FargateCapacity, RemovalPolicy, SessionStore, ecs, logs, rds };

function wrongDefaults(): string[] {
  const actual = defaultsOfCode();
  return ['src/props.ts', 'src/access.ts', 'src/session-store.ts'].flatMap(defaultsIn).filter(({ text }) => !text.startsWith('-')).flatMap(({ owner, name, text, at }) => {
    const [expression] = text.split(' - ');
    const said: unknown = new Function(...Object.keys(names), `return ${expression}`)(...Object.values(names));
    const is = actual[owner]?.[name];
    return plain(said) === plain(is) ? [] : [`${at} ${name}: @default ${expression}, and the code has ${plain(is)}`];
  });
}

/** A text that is the same for equal values. */
function plain(value: unknown): string {
  return value instanceof Duration ? `${value.toSeconds()} seconds` : value instanceof SessionStore ? value.constructor.name : JSON.stringify(value) ?? 'nothing';
}

export async function checkTables(checks: Checks): Promise<void> {
  await checks.check('README.md counts the resources of each part', async () => failWith(wrongParts()));
  await checks.check('docs/monitoring.md and the API name every alarm with its threshold and time', async () => failWith(wrongAlarms()));
  await checks.check('docs/settings.md names every setting with its value', async () => failWith(sections.flatMap(wrongSettings)));
  await checks.check('the defaults in comments of props, access and session stores are those of the code', async () => failWith(wrongDefaults()));
}
