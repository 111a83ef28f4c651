/** Figures in the prose of all pages against the code. Whole tables are compared in tables.mts. */

import { Duration } from 'aws-cdk-lib';
import { amounts, costAtRest, derivedAmounts } from './amounts.mjs';
import { find, propertiesIn, read, synthesise, type Resources } from './deployed.mjs';
import { withDigits, type Prose } from './prose.mjs';
import type { Checks } from '../local/checks/checks.mjs';
import { ALARMS } from '../src/parts/alarms.js';
import { MLFLOW_IMAGE, OAUTH2_PROXY_IMAGE } from '../src/parts/task-kit.js';
import { SessionStore } from '../src/session-store.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- templates have no types */

export interface PageProse {
  readonly path: string;
  readonly prose: Prose[];
}

type Deployed = ReturnType<typeof propertiesIn>;
type Statement = Prose & { readonly path: string };
type Figure = string | number;

interface Fact {
  readonly what: string;
  /** The figures of the code. Those of several groups are joined by a slash. */
  readonly value: Figure | readonly Figure[];
  /** Only sentences and rows of tables that match are compared. Number words are digits there: `10 minutes`, `1 hour`. */
  readonly about?: RegExp;
  readonly figure: RegExp;
  /** Paths of the pages, where other pages use the same words for something else. */
  readonly pages?: RegExp;
}

const minor = (version: string) => version.split('.').slice(0, 2).join('.');

function versions(deployed: Deployed): Fact[] {
  const [, mlflow] = /:v([\d.]+)/.exec(MLFLOW_IMAGE)!;
  const [, proxy] = /:v([\d.]+)/.exec(OAUTH2_PROXY_IMAGE)!;
  const engine: string = deployed('AWS::RDS::DBCluster').EngineVersion;
  const older = find('local/requirements/mlflow-old.txt', /^mlflow(?:-skinny)?==(\S+)$/m);
  const { engines, peerDependencies } = JSON.parse(read('package.json'));
  const python = find('clients/python/pyproject.toml', /^requires-python = ">=(.+)"$/m);
  const floor = find('src/parts/task-kit.ts', /(7\.\d+\.\d+)[^\n]*GHSA/);
  return [
    {
      what: 'MLflow',
      value: [mlflow, `${minor(mlflow)}.x`, minor(mlflow), older, '1.24', '1.24.0'], // 1.24 is the article's
      about: /mlflow/i,
      figure: /(?<![\d.@])(3\.\d\d\.(?:\d+|x))\b|(?:MLflow|series than|client of) (\d+\.\d+)\b(?!\.)/,
    },
    // 7.15.4: some measurements were made with it, and the pages say so.
    { what: 'oauth2-proxy', value: [proxy, floor, '7.15.4'], figure: /(?<!Redis )\b(7\.\d+\.\d+)\b/ },
    { what: 'PostgreSQL', value: engine, figure: /(?<![\d.]|of\(')(17\.\d+)\b/ },
    // 15: some measurements were made with it; 16: roles are different from this version on.
    { what: 'PostgreSQL, major version', value: [engine.split('.')[0], '15', '16'], figure: /PostgreSQL (\d+)/ },
    { what: 'Node.js', value: minor(engines.node.replace('>= ', '')), figure: /Node(?:\.js)? (?:≥ )?(\d+\.\d+)/ },
    { what: 'Python', value: python, figure: /Python (?:≥ )?(\d+\.\d+)/ },
    { what: 'Go, for the checks', value: minor(find('local/oauth2-proxy/go.mod', /^go (.+)$/m)), figure: /Go ≥ (\d+\.\d+)/, pages: /^(?!docs\/languages)/ },
    { what: 'Go, for apps', value: minor(find('examples/go/quick-start/go.mod', /^go (.+)$/m)), figure: /Go ≥ (\d+\.\d+)/, pages: /languages/ },
    { what: 'Java', value: find('examples/java/quick-start/pom.xml', /compiler\.release>(\d+)</), figure: /JDK (?:≥ )?(\d+)/ },
    { what: 'aws-cdk-lib', value: [minor(peerDependencies['aws-cdk-lib'].slice(1)), '2.201'], about: /aws-cdk-lib/, figure: /\b(2\.\d+)\b/ },
    { what: 'boto3', value: minor(find('clients/python/pyproject.toml', /^aws = \["boto3>=(.+)"\]$/m)), about: /boto3/, figure: /\b(1\.\d\d)\b/ },
  ];
}

/** Values of a synthesised template and constants of the programs of the task. */
function settings(deployed: Deployed): Fact[] {
  const task = (part: string) => deployed('AWS::ECS::TaskDefinition', part);
  const container = (name: string) => task('Service').ContainerDefinitions.find(({ Name }: any) => Name === name);
  const variable = (of: string, name: string): string => container(of).Environment.find(({ Name }: any) => Name === name).Value;
  const inSeconds = (text: string) => parseInt(text) * { s: 1, m: 60, h: 3600 }[text.at(-1) as 's' | 'm' | 'h'];
  const attribute = (of: any[], key: string) => Number(of.find(({ Key }) => Key === key).Value);
  const size = (part: string) => `${task(part).Cpu / 1024}/${task(part).Memory / 1024}`;
  const target = deployed('AWS::ElasticLoadBalancingV2::TargetGroup');
  const database = deployed('AWS::RDS::DBCluster');
  const capacity = database.ServerlessV2ScalingConfiguration;
  const scaling = (part: string) => deployed('AWS::ApplicationAutoScaling::ScalingPolicy', part).TargetTrackingScalingPolicyConfiguration;
  const rules: any[] = deployed('AWS::S3::Bucket').LifecycleConfiguration.Rules;
  const prepare = (name: string) => Number(find('containers/prepare.py', new RegExp(`^${name} = (\\d+)`, 'm')));
  const idleTimeout = attribute(deployed('AWS::ElasticLoadBalancingV2::LoadBalancer').LoadBalancerAttributes, 'idle_timeout.timeout_seconds');
  const pool = Number(variable('mlflow', 'MLFLOW_SQLALCHEMYSTORE_POOL_SIZE')) + Number(variable('mlflow', 'MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW'));
  const workers = Number(variable('mlflow', 'MLFLOW_WORKERS'));
  const secretLengths = ['EncryptionPassphrase', 'CookieSecret'].map(part => deployed('AWS::SecretsManager::Secret', part).GenerateSecretString.PasswordLength);
  const parameters = deployed('AWS::RDS::DBClusterParameterGroup').Parameters;
  const cooldown = Number(/cooldown:\n +default-days: (\d+)/.exec(read('.github/dependabot.yml'))![1]);
  return [
    { what: '`sessionDuration`', value: inSeconds(variable('oauth2-proxy', 'OAUTH2_PROXY_COOKIE_EXPIRE')) / 3600, about: /sessionDuration|session lasts|sessions last/i, figure: /(\d+) hours/, pages: /^(?!docs\/which-one)/ },
    { what: 'how long a sign-in may take', value: inSeconds(variable('oauth2-proxy', 'OAUTH2_PROXY_COOKIE_CSRF_EXPIRE')) / 3600, about: /sign-in (?:began|may take)/, figure: /(\d+) hours?/ },
    { what: '`pauseAfter`', value: capacity.SecondsUntilAutoPause / 60, about: /\bpaus|pauseAfter/, figure: /(?:after|pauseAfter`?,?) \(?(\d+) minutes/, pages: /^(?!examples)/ },
    { what: '`databaseCapacity`', value: `${capacity.MinCapacity}/${capacity.MaxCapacity}`, figure: /(\d+) to (\d+) (?:ACUs?|capacity units)/ },
    { what: '`backupRetention`', value: database.BackupRetentionPeriod, about: /backup|the database for/i, figure: /(\d+) days/ },
    { what: 'incomplete uploads', value: rules.find(rule => rule.AbortIncompleteMultipartUpload).AbortIncompleteMultipartUpload.DaysAfterInitiation, about: /incomplete uploads|uploads? (?:that were )?(?:never|not) completed|what is left of them/i, figure: /(\d+) days/ },
    { what: '`keepVersionsFor`', value: rules.find(rule => rule.NoncurrentVersionExpiration).NoncurrentVersionExpiration.NoncurrentDays, about: /^(?!.*backupRetention).*(?:keepVersionsFor|old version|with `cleanUp`)/, figure: /(\d+) days/ },
    { what: '`requestLimits`', value: `${variable('mlflow', 'SECURE_MLFLOW_API_LIMIT_MIB')}/${variable('mlflow', 'SECURE_MLFLOW_TRACES_LIMIT_MIB')}`, about: /traces/, figure: /(\d+) MiB,[^.]*?traces[^.]{0,30}? (\d+) MiB|(\d+) MiB, (\d+) MiB (?:of|for) traces/ },
    { what: 'how long the load balancer waits', value: idleTimeout / 60, about: /transfer may take|request may take|wait(?:s)? up to|both wait|idle ?timeout|504/i, figure: /(\d+) minutes/ },
    { what: 'grace of a new task', value: deployed('AWS::ECS::Service').HealthCheckGracePeriodSeconds / 60, about: /\bgrace\b/, figure: /(\d+) minutes/ },
    { what: 'grace of a new task', value: deployed('AWS::ECS::Service').HealthCheckGracePeriodSeconds / 60, about: /must be healthy|to become healthy|new one may (?:take|need)/, figure: /(?:has|given|may take|may need) (\d+) minutes/ },
    { what: 'failed checks that make a target unhealthy', value: target.UnhealthyThresholdCount, figure: /(\d+) failed (?:health )?checks/ },
    { what: 'time of failed checks until a task is replaced', value: target.UnhealthyThresholdCount * target.HealthCheckIntervalSeconds / 60, about: /replace(?:s|d)? the task|\(1 minute\)/, figure: /after (\d+) minutes?|failed checks \((\d+) minutes?\)/ },
    { what: 'checks of the load balancer', value: target.HealthCheckIntervalSeconds, about: /load balancer (?:asks|checks|requests)/, figure: /every (\d+) seconds/ },
    { what: 'how long the load balancer drains', value: attribute(target.TargetGroupAttributes, 'deregistration_delay.timeout_seconds') / 60, about: /\bdrains?\b|in flight ends/, figure: /(\d+) minutes/ },
    { what: 'how long a container may stop', value: container('mlflow').StopTimeout, figure: /kills them after (\d+) s\b/ },
    { what: 'how long an idle connection is kept', value: /--keep-alive (\d+)/.exec(variable('mlflow', 'MLFLOW_GUNICORN_OPTS'))![1], figure: /keeps? (?:them|connections|idle connections) (?:open )?for (\d+) seconds/ },
    { what: 'memory of a task, GiB', value: task('Service').Memory / 1024, figure: /(?:task has|hence|default is) (\d+) GiB/ },
    { what: 'memory at which an alarm rings, percent', value: ALARMS.memory.threshold, figure: /alarm (?:rings|triggers) at (\d+) %/ },
    { what: 'length of generated secrets', value: secretLengths, figure: /generated, (\d+) (?:characters|letters)/ },
    { what: 'artifacts that go in one call, MiB', value: find('containers/secure_mlflow/artifacts.py', /^SMALL = (\d+) \* 1024 \* 1024/m), about: /in (?:one|a single) call/, figure: /(?:below|smaller than) (\d+) MiB/ },
    { what: 'how long MLflow may start', value: container('mlflow').HealthCheck.StartPeriod / 60, figure: /(\d+) minutes are allowed/ },
    { what: 'how long `prepare` waits for the database', value: prepare('DATABASE_PATIENCE'), about: /database.*waits? up to/, figure: /up to (\d+) s\b/ },
    { what: 'how long `prepare` waits for the lock', value: prepare('LOCK_PATIENCE') / 3600, about: /\block\b|migrating/, figure: /up to (\d+) hours?/ },
    { what: 'how long an index may take', value: prepare('INDEX_PATIENCE') / 60, about: /build can take/, figure: /longer than (\d+) minutes?/ },
    { what: 'attempts to get the CA bundle', value: prepare('DOWNLOAD_ATTEMPTS'), figure: /(\d+) attempts/, about: /CA bundle/ },
    { what: 'new tokens for the database', value: Number(find('src/settings/database.ts', /DATABASE_TOKEN_SECONDS: '(\d+)'/)) / 60, about: /database-token|tokens? of RDS/, figure: /every (\d+) minutes/ },
    { what: 'idle connections', value: parameters.idle_session_timeout / 60_000, figure: /(\d+) minutes? without use/ },
    { what: 'threads of a process', value: find('containers/secure_mlflow/shortcut.py', /^THREADS = (\d+)/m), figure: /(\d+) threads\b/ },
    { what: 'connections of a process', value: pool, figure: /at most (\d+) connections a process/ },
    { what: 'connections of a task', value: pool * workers, about: /task with 2 workers/, figure: /(?:at most|up to) (\d+)/ },
    { what: 'size of the task, of the clean-up', value: [size('Service'), size('CleanUp')], figure: /(\d+(?:\.\d+)?) vCPU and (\d+(?:\.\d+)?) GiB/ },
    { what: '`cpuUtilizationPercent`', value: scaling('Cpu').TargetValue, about: /tasks are added|CPU.*aim/i, figure: /(\d+) %/ },
    { what: '`requestsPerTarget`', value: scaling('Requests').TargetValue, figure: /(\d{4}) requests (?:1|a|per) minute|Default: (\d{4}) - less than half/ },
    { what: 'how slowly tasks are taken away', value: scaling('Cpu').ScaleInCooldown / 60, about: /taken away|removed slowly/, figure: /(\d+) minutes/ },
    { what: '`logRetention`, in months', value: deployed('AWS::Logs::LogGroup').RetentionInDays / 30, about: /log group|logRetention/, figure: /(\d+) months?/ },
    { what: 'sessions on the server, GB', value: deployed('AWS::ElastiCache::ServerlessCache').CacheUsageLimits.DataStorage.Maximum, about: /bounds the bill|limits the (?:bill|cost)/, figure: /(\d+) GB/ },
    { what: 'days before an update is taken', value: cooldown, about: /younger than/, figure: /(\d+) days/ },
  ];
}

/** Figures of other programs, which no code of the repository contains. */
const others: Fact[] = [
  { what: 'a database that wakes, seconds', value: 15, about: /\b(?:wakes?|resumes?|pause)\b/, figure: /\babout (\d+) s(?:econds)?\b/ },
  { what: 'uploads in parts, MB', value: 500, about: /\buploads?\b/i, figure: /(?:below|above|from|border of|limit of) (\d+) MB/ },
  { what: "how long MLflow's client tries again, seconds", value: 247, about: /every call of MLflow|client tries again for|client retries for|sent in the background/, figure: /\b(\d+) s\b/ },
  { what: "how long MLflow's client waits, seconds", value: 120, about: /client waits|has patience|times out after/, figure: /(\d+) s\b/ },
];

/** Amounts with cents are compared below. */
function computed(deployed: Deployed): Fact[] {
  const { key, containerInsights, task, valkey } = derivedAmounts();
  const rounded = (name: string) => Math.round(costAtRest(name));
  const hours = find('bench/money.mts', /^const hours = (\d+);/m);
  const awake = find('bench/money.mts', /what: 'database awake.*use: (\d+) \}/);
  const minutes = deployed('AWS::RDS::DBCluster').ServerlessV2ScalingConfiguration.SecondsUntilAutoPause / 60 + 1; // the connections of MLflow end after one minute
  return [
    { what: 'memory at rest, percent of the task', value: memoryAtRest(deployed), about: /default size/, figure: /about (\d+)/ },
    { what: 'hours of a month, hours of use', value: [hours, awake, Math.round(Number(hours) * minutes / 60)], about: /used|works?\b|month/, figure: /(?<![\d.])(\d{3}) hours/ },
    { what: 'minutes that a query keeps the database awake', value: minutes, figure: /(\d+) minutes of each/ },
    { what: 'the cheapest at rest', value: rounded('shared-load-balancer'), figure: /(\d+) 1 month\b(?=.*(?:alone|with its own))/ },
    { what: 'the range at rest', value: `${rounded('cheapest')}/${rounded('cognito')}`, figure: /(\d+) to (\d+) (?:alone|with its own)/ },
    { what: '2 tasks, no pause', value: rounded('production'), figure: /(\d+) with 2 tasks and no pause/ },
    { what: 'dollars without cents', value: [key, containerInsights, task, valkey].map(Math.round), figure: /(?<![\d.])(\d+) USD 1 month/ },
  ];
}

function counts(): Fact[] {
  const template = synthesise({ natGateways: 1 });
  const without = synthesise({ natGateways: 0 });
  const count = (resources: object) => Object.keys(resources).length;
  return [
    { what: 'resources of the quick start, and with `natGateways: 0`', value: `${count(template)}/${count(without)}`, figure: /creates (\d+) resources \((\d+) with `natGateways: 0`\)/ },
    { what: 'resources, wherever else they are counted', value: [count(template), count(without)], figure: /\b(\d\d) resources\b/ },
  ];
}

function metricsOf(resources: Resources): number {
  return Object.values(resources).filter(({ Type }) => Type === 'AWS::CloudWatch::Alarm')
    .reduce((sum, { Properties: { Metrics } }) => sum + (Metrics?.filter(({ MetricStat }: any) => MetricStat).length ?? 1), 0);
}

/** The measured memory of the server in percent of the memory of a task. */
function memoryAtRest(deployed: Deployed): number {
  const { rows } = JSON.parse(read('docs/benchmarks.json')).find(({ title }: { title: string }) => title === 'Memory, MiB');
  const { 'at rest': atRest } = rows.find(({ server, program }: Record<string, unknown>) => server === 'this library' && program === 'mlflow');
  return Math.round(100 * atRest / deployed('AWS::ECS::TaskDefinition', 'Service').Memory);
}

export function groupsOfFacts(): [title: string, facts: () => Fact[]][] {
  const everything = synthesise({
    cleanUp: { olderThan: Duration.days(30) },
    sessionStore: SessionStore.valkey(),
    scaling: { maxCount: 2 },
  }, { monitored: true });
  const deployed = propertiesIn(everything);
  return [
    ['versions', () => versions(deployed)],
    ['sizes, limits and durations', () => settings(deployed)],
    ['figures of other programs', () => others],
    ['figures that follow from measurements and prices', () => computed(deployed)],
    ['numbers of resources and metrics', () => [
      ...counts(),
      { what: 'metrics of alarms, without and with `cleanUp`', value: [synthesise({}, { monitored: true }), everything].map(metricsOf).join('/'), figure: /(\d+) metrics,? \(?(?:or )?(\d+) with `cleanUp`/ },
    ]],
  ];
}

export async function checkFacts(checks: Checks, pages: PageProse[]): Promise<void> {
  const statements = pages.flatMap(({ path, prose }) => prose.map(({ line, text }) => ({ path, line, text: withDigits(text) })));
  for (const [title, factsOf] of groupsOfFacts()) {
    await checks.check(`${title} are those of the code`, async () => {
      const facts = factsOf();
      const compared = facts.map(fact => compare(fact, statements));
      const wrong = compared.flatMap(each => each.wrong);
      if (wrong.length > 0) {
        throw new Error(wrong.join('\n'));
      }
      return `${facts.length} in ${compared.reduce((sum, { places }) => sum + places, 0)} places`;
    });
  }
  await checks.check('amounts of money are those of the tables', async () => {
    const known = new Set(amounts());
    const aboutMoney = /USD|dollar|\bcosts?\b|\bprice|\ba month\b|\b1 month\b|\bsaves?\b/i;
    const amount = /(?<![\d.])\d+\.\d\d\b(?!\.?\d| ?(?:s|ms|%|MiB|kB)\b)/g;
    const found = statements.filter(({ path, text }) => /costs|sleep/.test(path) || aboutMoney.test(text))
      .flatMap(({ path, line, text }) => Array.from(text.matchAll(amount), ([one]) => ({ at: `${path}:${line}`, one })));
    const wrong = found.filter(({ one }) => !known.has(one))
      .map(({ at, one }) => `${at} ${one} is neither in a table of docs/costs.md nor computed in scripts/amounts.mts`);
    if (wrong.length > 0) {
      throw new Error(wrong.join('\n'));
    }
    return `${found.length} in prose`;
  });
}

export function compare({ what, value, about, figure, pages }: Fact, statements: Statement[]): { places: number; wrong: string[] } {
  const known = [value].flat().map(String);
  const expected = `${what}, ${known.join(' or ')} in the code`;
  const compared = statements.filter(({ path, text }) => (pages?.test(path) ?? true) && (about?.test(text) ?? true));
  const found = compared.flatMap(({ path, line, text }) => {
    const matches = Array.from(text.matchAll(new RegExp(figure, 'g')), ([, ...groups]) => groups.filter(Boolean).join('/'));
    return matches.map(figures => ({ at: `${path}:${line}`, figures }));
  });
  if (found.length === 0) {
    return { places: 0, wrong: [`no page has this figure in the words of scripts/facts.mts, correct the words: ${expected}`] };
  }
  const wrong = found.filter(({ figures }) => !known.includes(figures)).map(({ at, figures }) => `${at} ${figures} is wrong: ${expected}`);
  return { places: found.length, wrong };
}
