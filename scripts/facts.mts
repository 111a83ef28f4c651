/** Figures in the prose of all pages against the code. Whole tables are compared in tables.mts. */

import { Duration } from 'aws-cdk-lib';
import { costAtRest, hoursOfMonth, metricsOfContainerInsights, namedAmounts } from './amounts.mjs';
import { find, propertiesIn, read, synthesise, type Resources } from './deployed.mjs';
import { failWith, withDigits, type Prose } from './prose.mjs';
import type { Checks } from '../local/checks/checks.mjs';
import { ALARMS } from '../src/parts/alarms.js';
import { MLFLOW_IMAGE, OAUTH2_PROXY_IMAGE } from '../src/parts/task-kit.js';
import { SessionStore } from '../src/session-store.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- templates have no types */

type Deployed = ReturnType<typeof propertiesIn>;
type Statement = Prose & { readonly path: string };
type Figure = string | number;
interface Found { readonly at: string; readonly figures: string }

interface Fact {
  readonly what: string;
  /** The figure of the code. Those of several groups are joined by a slash. */
  readonly value: Figure;
  /** Only sentences and rows of tables that match are compared. Number words are digits there: `10 minutes`, `1 hour`. */
  readonly about?: RegExp;
  readonly figure: RegExp;
  /** How many places have it at least: a sentence with other words than these patterns is noticed. */
  readonly places: number;
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
    { what: 'MLflow', value: mlflow, figure: /(?<![\d.])(3\.\d\d\.\d+)\b(?! to 3\.| under the task| server that)/, places: 22 },
    { what: 'MLflow, the older version of the checks', value: older, figure: /(?<![\d.])(3\.\d\d\.\d+)(?= to 3\.| under the task| server that)/, places: 4 },
    { what: 'MLflow, of any patch', value: minor(mlflow), figure: /(?<![\d.])(3\.\d\d)\.x|(?:MLflow|client of) (3\.\d+)\b(?!\.)/, places: 11 },
    // Some measurements were made with an older version, and the pages say so.
    { what: 'oauth2-proxy', value: proxy, figure: /(?<!Redis |older than )\b(7\.\d+\.\d+)\b(?! or newer|, before there was|, not again| \(a task)/, places: 11 },
    { what: 'oauth2-proxy, the oldest without known gaps', value: floor, figure: /older than (7\.\d+\.\d+)|(7\.\d+\.\d+) or newer/, places: 3 },
    { what: 'PostgreSQL', value: engine, figure: /(?<![\d.]|of\(')(17\.\d+)\b/, places: 6 },
    {
      what: 'PostgreSQL, major version',
      value: engine.split('.')[0],
      about: /^(?!.*2026-11-23)/,
      figure: /(?<!From )PostgreSQL (\d+)|(?:major version|minor version of) (\d+)/,
      places: 9,
    },
    { what: 'Node.js', value: minor(engines.node.replace('>= ', '')), figure: /Node(?:\.js)? (?:≥ )?(\d+\.\d+)/, places: 8 },
    { what: 'Python', value: python, figure: /Python (?:≥ )?(\d+\.\d+)/, places: 7 },
    { what: 'Go, for the checks', value: minor(find('local/oauth2-proxy/go.mod', /^go (.+)$/m)), figure: /Go ≥ (\d+\.\d+)/, pages: /^(?!docs\/languages)/, places: 3 },
    { what: 'Go, for apps', value: minor(find('examples/go/quick-start/go.mod', /^go (.+)$/m)), figure: /Go ≥ (\d+\.\d+)/, pages: /languages/, places: 1 },
    { what: 'Java', value: find('examples/java/quick-start/pom.xml', /compiler\.release>(\d+)</), figure: /JDK (?:≥ )?(\d+)/, places: 3 },
    { what: 'aws-cdk-lib', value: minor(peerDependencies['aws-cdk-lib'].slice(1)), figure: /library requires (2\.\d+)\b/, places: 1 },
    { what: 'boto3', value: minor(find('clients/python/pyproject.toml', /^aws = \["boto3>=(.+)"\]$/m)), about: /boto3/, figure: /\b(1\.\d\d)\b/, places: 2 },
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
  const secretLength = (part: string) => deployed('AWS::SecretsManager::Secret', part).GenerateSecretString.PasswordLength;
  const parameters = deployed('AWS::RDS::DBClusterParameterGroup').Parameters;
  const threads = Number(find('containers/secure_mlflow/shortcut.py', /^THREADS = (\d+)/m));
  const atTheSameTime = find('containers/secure_mlflow/shortcut.py', /^PATIENT_THREADS = (\d+)/m);
  const cooldown = Number(/cooldown:\n +default-days: (\d+)/.exec(read('.github/dependabot.yml'))![1]);
  return [
    { what: '`sessionDuration`', value: inSeconds(variable('oauth2-proxy', 'OAUTH2_PROXY_COOKIE_EXPIRE')) / 3600, about: /sessionDuration|session lasts/i, figure: /(\d+) hours/, pages: /^(?!docs\/which-one)/, places: 5 },
    { what: 'how long a sign-in may take', value: inSeconds(variable('oauth2-proxy', 'OAUTH2_PROXY_COOKIE_CSRF_EXPIRE')) / 3600, about: /sign-in began/, figure: /(\d+) hours?/, places: 2 },
    { what: '`pauseAfter`', value: capacity.SecondsUntilAutoPause / 60, figure: /(?:pauses after|`pauseAfter`) \(?(\d+) minutes|awake \(at least (\d+) minutes/, pages: /^(?!examples)/, places: 4 },
    { what: '`pauseAfter` of the cheapest', value: find('examples/typescript/cheapest/app.ts', /pauseAfter: Duration\.minutes\((\d+)\)/), figure: /pauses after (\d+) minutes/, pages: /^examples/, places: 2 },
    { what: '`databaseCapacity`', value: `${capacity.MinCapacity}/${capacity.MaxCapacity}`, figure: /(\d+) to (\d+) (?:ACU|capacity units)/, places: 2 },
    { what: '`backupRetention`', value: database.BackupRetentionPeriod, about: /backup|the database for/i, figure: /(\d+) days/, places: 6 },
    { what: 'incomplete uploads', value: rules.find(rule => rule.AbortIncompleteMultipartUpload).AbortIncompleteMultipartUpload.DaysAfterInitiation, about: /incomplete uploads/i, figure: /(\d+) days/, places: 3 },
    { what: '`keepVersionsFor`', value: rules.find(rule => rule.NoncurrentVersionExpiration).NoncurrentVersionExpiration.NoncurrentDays, about: /^(?!.*backupRetention).*(?:keepVersionsFor|old version)/, figure: /(\d+) days/, places: 2 },
    { what: '`requestLimits`', value: `${variable('mlflow', 'SECURE_MLFLOW_API_LIMIT_MIB')}/${variable('mlflow', 'SECURE_MLFLOW_TRACES_LIMIT_MIB')}`, about: /traces/, figure: /(\d+) MiB,[^.]*?traces[^.]{0,30}? (\d+) MiB|(\d+) MiB, (\d+) MiB of traces/, places: 2 },
    { what: 'how long the load balancer waits', value: idleTimeout / 60, about: /transfer may take|the server may take|wait up to|time out after|idle ?timeout|504|a request took/i, figure: /(\d+) minutes|Duration\.minutes\((\d+)\)/, places: 10 },
    { what: 'grace of a new task', value: deployed('AWS::ECS::Service').HealthCheckGracePeriodSeconds / 60, about: /\bgrace\b|to become healthy|new one may/, figure: /(?:period of|has|may take|may need) (\d+) minutes/, places: 5 },
    { what: 'failed checks that make a target unhealthy', value: target.UnhealthyThresholdCount, figure: /(\d+) failed (?:health )?checks/, places: 2 },
    { what: 'time of failed checks until a task is replaced', value: target.UnhealthyThresholdCount * target.HealthCheckIntervalSeconds / 60, figure: /replaces the task after (\d+) minutes?/, places: 1 },
    { what: 'checks of the load balancer', value: target.HealthCheckIntervalSeconds, figure: /load balancer checks it every (\d+) seconds/, places: 1 },
    { what: 'how long the load balancer drains', value: attribute(target.TargetGroupAttributes, 'deregistration_delay.timeout_seconds') / 60, about: /\bdrains\b|in flight have/, figure: /(\d+) minutes/, places: 2 },
    { what: 'how long a container may stop', value: container('mlflow').StopTimeout, figure: /kills them after (\d+) s\b|of Fargate's (\d+) s\b/, places: 2 },
    { what: 'how long an idle connection is kept', value: /--keep-alive (\d+)/.exec(variable('mlflow', 'MLFLOW_GUNICORN_OPTS'))![1], figure: /keeps idle connections for (\d+) seconds/, places: 1 },
    { what: 'memory of a task, GiB', value: task('Service').Memory / 1024, figure: /task has (\d+) GiB/, places: 2 },
    { what: 'memory at which an alarm rings, percent', value: ALARMS.memory.threshold, figure: /alarm triggers at (\d+) %/, places: 1 },
    { what: 'length of the passphrase', value: secretLength('EncryptionPassphrase'), about: /KEK_PASSPHRASE/, figure: /generated, (\d+) characters/, places: 1 },
    { what: 'length of the password of the sessions', value: secretLength('Sessions'), about: /REDIS_PASSWORD/, figure: /generated, (\d+) letters/, places: 1 },
    { what: 'length of the cookie secret', value: secretLength('CookieSecret'), about: /COOKIE_SECRET/, figure: /generated, (\d+) characters/, places: 1 },
    { what: 'artifacts that go in one call, MiB', value: find('containers/secure_mlflow/artifacts.py', /^SMALL = (\d+) \* 1024 \* 1024/m), figure: /Artifacts below (\d+) MiB/, places: 1 },
    { what: 'how long MLflow may start', value: container('mlflow').HealthCheck.StartPeriod / 60, figure: /(\d+) minutes are allowed/, places: 1 },
    { what: 'how long `prepare` waits for the database', value: prepare('DATABASE_PATIENCE'), figure: /waits up to (\d+) s\b/, places: 2 },
    { what: 'how long `prepare` waits for the lock', value: prepare('LOCK_PATIENCE') / 3600, about: /\block\b|migrating/, figure: /up to (\d+) hours?/, places: 3 },
    { what: 'how long an index may take', value: prepare('INDEX_PATIENCE') / 60, about: /build can take/, figure: /longer than (\d+) minutes?/, places: 1 },
    { what: 'attempts to get the CA bundle', value: prepare('DOWNLOAD_ATTEMPTS'), about: /CA bundle/, figure: /(\d+) attempts/, places: 1 },
    { what: 'new tokens for the database', value: Number(find('src/settings/database.ts', /DATABASE_TOKEN_SECONDS: '(\d+)'/)) / 60, about: /database-token/, figure: /every (\d+) minutes/, places: 1 },
    { what: 'idle connections', value: parameters.idle_session_timeout / 60_000, figure: /(\d+) minutes? without use/, places: 3 },
    { what: 'age of a connection', value: Number(variable('mlflow', 'MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE')) / 60, figure: /is older than (\d+) minutes/, places: 2 },
    { what: 'threads of a process', value: threads, figure: /(\d+) threads (?:of|in)|at the same time, (\d+) if absent/, places: 3 },
    { what: 'threads for requests that wait', value: atTheSameTime, figure: /(\d+) separate threads/, places: 1 },
    { what: 'requests of a process at the same time', value: atTheSameTime, figure: /answers up to (\d+) requests|the sum above (\d+)/, places: 2 },
    { what: 'connections of a process', value: pool, figure: /at most (\d+) connections a process|with (\d+) none of/, places: 2 },
    { what: 'connections of a task', value: pool * workers, about: /task with 2 workers/, figure: /(?:at most|up to) (\d+)/, places: 2 },
    { what: 'connections of a task during writes', value: threads * workers, about: /task with 2 workers/, figure: /about (\d+) connections/, places: 1 },
    { what: 'size of the task', value: size('Service'), figure: /(\d+(?:\.\d+)?) vCPU and (\d+(?:\.\d+)?) GiB/, pages: /^README/, places: 1 },
    { what: 'size of the clean-up', value: size('CleanUp'), figure: /(\d+(?:\.\d+)?) vCPU and (\d+(?:\.\d+)?) GiB/, pages: /^(?!README)/, places: 1 },
    { what: '`cpuUtilizationPercent`', value: scaling('Cpu').TargetValue, about: /tasks are added/i, figure: /(\d+) %/, places: 1 },
    { what: '`requestsPerTarget`', value: scaling('Requests').TargetValue, figure: /(\d{4}) requests 1 minute|Default: (\d{4}) - less than half/, places: 2 },
    { what: 'how slowly tasks are taken away', value: scaling('Cpu').ScaleInCooldown / 60, about: /removed slowly/, figure: /(\d+) minutes/, places: 1 },
    { what: '`logRetention`, in months', value: deployed('AWS::Logs::LogGroup').RetentionInDays / 30, about: /log group|logRetention/, figure: /(\d+) months?/, places: 2 },
    { what: 'sessions on the server, GB', value: deployed('AWS::ElastiCache::ServerlessCache').CacheUsageLimits.DataStorage.Maximum, about: /limits the cost/, figure: /(\d+) GB/, places: 1 },
    { what: 'days before an update is taken', value: cooldown, about: /younger than/, figure: /(\d+) days/, places: 1 },
  ];
}

/** Figures of other programs and of measurements, which no code of the repository contains. */
const others: Fact[] = [
  { what: "the article's MLflow", value: '1.24', about: /mlflow|article/i, figure: /(?<![\d.])(1\.\d\d)(?:\.0)?\b/, pages: /from-terraform|which-one/, places: 7 },
  { what: 'oauth2-proxy of the first measurements', value: '7.15.4', figure: /(7\.\d+\.\d+)(?=, before there was|, not again| \(a task)/, places: 3 },
  { what: 'PostgreSQL of the first measurements', value: 15, about: /2026-11-23/, figure: /PostgreSQL (\d+)/, places: 2 },
  { what: 'PostgreSQL with other roles', value: 16, figure: /From PostgreSQL (\d+) on/, places: 1 },
  { what: 'aws-cdk-lib, the first that …', value: '2.201', figure: /`aws-cdk-lib` (2\.\d+) was the first/, places: 1 },
  { what: 'a database that wakes, seconds', value: 15, about: /\b(?:wakes?|resumes?|pause)\b|first request|it waits about/, figure: /(?:about|takes) (\d+) s(?:econds)?\b/, places: 14 },
  { what: 'uploads in parts, MB', value: 500, about: /\buploads?\b/i, figure: /(?:below|above|from|border of|Uploads of) (\d+) MB/, places: 14 },
  { what: "how long MLflow's client tries again, seconds", value: 247, about: /every call of MLflow|client retries for|sent in the background|runs at night/, figure: /\b(\d+) s\b/, places: 4 },
  { what: "how long MLflow's client tries again, minutes", value: 4, figure: /client (?:retries for|waits) about (\d+) minutes/, places: 2 },
  { what: "how long MLflow's client waits, seconds", value: 120, figure: /client times out after (\d+)/, places: 2 },
];

function computed(deployed: Deployed): Fact[] {
  const rounded = (name: string) => Math.round(costAtRest(name));
  const minutes = deployed('AWS::RDS::DBCluster').ServerlessV2ScalingConfiguration.SecondsUntilAutoPause / 60 + 1; // the connections of MLflow end after one minute
  return [
    { what: 'memory at rest, percent of the task', value: memoryAtRest(deployed), about: /default size/, figure: /about (\d+)/, places: 2 },
    { what: 'hours of a month', value: hoursOfMonth, figure: /month of (\d+) hours/, places: 1 },
    { what: 'hours of use', value: find('bench/money.mts', /what: 'database awake.*use: (\d+) \}/), figure: /(?:team works|[\d.]+ for|is used) (\d+) hours/, places: 3 },
    { what: 'hours awake with a query every hour', value: Math.round(hoursOfMonth * minutes / 60), figure: /(\d+) hours 1 month/, places: 1 },
    { what: 'minutes that a query keeps the database awake', value: minutes, figure: /(\d+) minutes of each/, places: 1 },
    { what: 'the cheapest at rest', value: rounded('shared-load-balancer'), figure: /(\d+) 1 month\b(?=.*with its own)/, places: 1 },
    { what: 'the range at rest', value: `${rounded('cheapest')}/${rounded('cognito')}`, figure: /(\d+) to (\d+) with its own/, places: 1 },
    { what: '2 tasks, no pause', value: rounded('production'), figure: /(\d+) with 2 tasks and no pause/, places: 1 },
  ];
}

/** With cents. `checkFacts` wants a name for each of them that a page has. */
function money(): Fact[] {
  const amount = namedAmounts();
  const atRest = (example: string) => costAtRest(example).toFixed(2);
  const named: [what: string, value: string | number, figure: RegExp, places: number][] = [
    ['a NAT gateway', amount.natGateway, /NAT gateway for them alone would be ([\d.]+),/, 1],
    ['a public address', amount.address, /its address ([\d.]+)\.|addresses of ([\d.]+) more|and ([\d.]+) for each of its public addresses/, 3],
    ['a load balancer', amount.loadBalancer, /load balancer (?:for MLflow alone )?costs ([\d.]+)/, 2],
    ['a secret', amount.secret, /([\d.]+) USD for the secret|\| secrets .* ([\d.]+) USD/, 2],
    ['each rotation of a key', amount.key, /rotations of a key.* add ([\d.]+) each/, 1],
    ['Container Insights', amount.containerInsights, /([\d.]+) of the metrics are Container Insights/, 1],
    ['the task that sleeps', amount.task, /task and its public address are ([\d.]+) of/, 1],
    ['what remains without it', [amount.zone, amount.storage, amount.secrets, amount.logs, amount.wakeUp].map(cents).join('/'),
      /zone ([\d.]+), storage of the database ([\d.]+), secrets ([\d.]+), logs ([\d.]+), and about ([\d.]+) for/, 1],
    ['`shared-load-balancer`', atRest('shared-load-balancer'), /([\d.]+) at rest is|address are [\d.]+ of the (\d+\.\d+)|`shared-load-balancer` \| ([\d.]+)|latter costs ([\d.]+)|this .* costs ([\d.]+) USD/, 5],
    ['`shared-load-balancer` on Spot', amount.onSpot, /On Spot, it would be ([\d.]+)\./, 1],
    ['the default size in private subnets, and on Spot', `${atRest('… without Container Insights')}/${atRest('… and on Spot')}`, /private subnets is ([\d.]+), or ([\d.]+) on Spot/, 1],
    ['`cheapest`', atRest('cheapest'), /\| the example `cheapest`.*?\| ([\d.]+)|without a task save .* of the (\d+\.\d+)/, 2],
    ['nights and weekends without a task', amount.withoutNights, /without a task save ([\d.]+) of/, 1],
    ['what a shared load balancer saves', amount.saved, /shared load balancer saves twice as much, ([\d.]+),/, 1],
    ['the small tracking server', amount.trackingServer, /stopped after work costs ([\d.]+) for/, 1],
    ['the default size', -costAtRest('`cpu: 256, memoryLimitMiB: 1024, workers: 1`'), /default size and costs ([\d.]+) USD/, 1],
    ['sessions on the server', atRest('`sessionStore: SessionStore.valkey()`'), /([\d.]+) with `valkey\(\)`/, 1],
    ['storage of sessions', amount.valkey, /at least 100 MB, ([\d.]+) 1 month/, 1],
    ['nodes for sessions', `${cents(amount.node)}/${cents(amount.nodes)}`, /(?:would be|node costs) ([\d.]+) (?:in|on) one zone and ([\d.]+) (?:in|on) 2/, 2],
    ['an hour of the clean-up', amount.cleanUpHour, /minutes of that task \(([\d.]+) USD/, 1],
    ['the database awake for 10 minutes', amount.databaseTenMinutes, /10 minutes, ([\d.]+) USD at 1 ACU/, 1],
  ];
  const rounded: typeof named = [
    ['a key', amount.key, /key costs (\d+) USD/i, 3],
    ['Container Insights', amount.containerInsights, /saves (\d+) USD/, 1],
    ['the task', amount.task, /about (\d+) USD 1 month less/, 1],
    ['sessions on the server', amount.valkey, /It costs about (\d+) USD/, 1],
  ];
  return [
    ...named.map(([what, value, figure, places]) => ({ what, value: typeof value === 'number' ? cents(value) : value, figure, places })),
    ...rounded.map(([what, value, figure, places]) => ({ what: `${what}, without cents`, value: Math.round(Number(value)), figure, places })),
    { what: 'metrics of Container Insights', value: metricsOfContainerInsights, figure: /(\d+) metrics of AWS's list/, places: 1 },
  ];
}

const cents = (amount: number) => amount.toFixed(2);

function counts(): Fact[] {
  const [all, without] = [1, 0].map(natGateways => Object.keys(synthesise({ natGateways })).length);
  return [
    { what: 'resources of the quick start, and with `natGateways: 0`', value: `${all}/${without}`, figure: /creates (\d+) resources \((\d+) with `natGateways: 0`\)/, places: 1 },
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

function groupsOfFacts(): [title: string, facts: () => Fact[]][] {
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
    ['amounts of money', money],
    ['numbers of resources and metrics', () => [
      ...counts(),
      { what: 'metrics of alarms, without and with `cleanUp`', value: [synthesise({}, { monitored: true }), everything].map(metricsOf).join('/'), figure: /(\d+) metrics, (\d+) with `cleanUp`/, places: 1 },
    ]],
  ];
}

export async function checkFacts(checks: Checks, pages: { readonly path: string; readonly prose: Prose[] }[]): Promise<void> {
  const statements = pages.flatMap(({ path, prose }) => prose.map(({ line, text }) => ({ path, line, text: withDigits(text) })));
  for (const [title, factsOf] of groupsOfFacts()) {
    await checks.check(`${title} are those of the code`, async () => {
      const facts = factsOf();
      const compared = facts.map(fact => compare(fact, statements));
      const found = compared.flatMap(each => each.found);
      failWith([...compared.flatMap(each => each.wrong), ...factsOf === money ? unnamed(statements, found) : []]);
      return `${facts.length} in ${found.length} places`;
    });
  }
}

/** Amounts with cents that no fact compares. */
function unnamed(statements: Statement[], found: Found[]): string[] {
  const named = new Set(found.flatMap(({ at, figures }) => figures.split('/').map(one => `${at} ${one}`)));
  const aboutMoney = /USD|dollar|\bcosts?\b|\bprice|\b1 month\b|\bsaves?\b/i;
  const amount = /(?<![\d.])\d+\.\d\d\b(?!\.?\d| ?(?:s|ms|%|MiB|kB)\b)/g;
  return statements.filter(({ path, text }) => /costs|sleep/.test(path) || aboutMoney.test(text))
    .flatMap(({ path, line, text }) => Array.from(text.matchAll(amount), ([one]) => `${path}:${line} ${one}`))
    .filter(one => !named.has(one))
    .map(one => `${one} has no name in scripts/facts.mts: add it to \`money\``);
}

function compare({ what, value, about, figure, pages, places }: Fact, statements: Statement[]): { found: Found[]; wrong: string[] } {
  const compared = statements.filter(({ path, text }) => (pages?.test(path) ?? true) && (about?.test(text) ?? true));
  const found = compared.flatMap(({ path, line, text }) => {
    const matches = Array.from(text.matchAll(new RegExp(figure, 'g')), ([, ...groups]) => groups.filter(Boolean).join('/'));
    return matches.map(figures => ({ at: `${path}:${line}`, figures }));
  });
  const wrong = found.filter(({ figures }) => figures !== String(value)).map(({ at, figures }) => `${at} ${figures} is wrong: ${what}, ${value} in the code`);
  if (found.length < places) {
    const where = found.map(({ at }) => at).join(', ') || 'no page';
    wrong.push(`${what}, ${value} in the code: ${places} places are expected in the words of scripts/facts.mts, and these have them: ${where}. Correct the words there, or the number`);
  }
  return { found, wrong };
}
