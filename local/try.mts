/** `npm run try`: synthesises the quick start, runs it with stand-ins for AWS, and prints how to use it. With `--check`, it checks the server and ends. */

import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join, relative } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { Listr } from 'listr2';
import { findSessionServer } from './aws/session-server.mjs';
import { Template } from './aws/template.mjs';
import { Checks } from './checks/checks.mjs';
import { examples } from './checks/examples.mjs';
import {
  checkAsDeployed, checkDatabaseTokens, checkExample, checkIdentities, checkInside, checkLevels, checkOwnApp, checkProxiedNetwork, checkQuickStart,
  checkRemoval, checkResilience, checkServerSessions, checkTools, checkTwoTasks, checkUpgrade, checkVerbatim, checkWays,
} from './checks/index.mjs';
import { checkNames } from './checks/names.mjs';
import { ownApp, ownStack } from './checks/own-app.mjs';
import { checkProviders } from './checks/providers.mjs';
import { checkSignedUrls } from './checks/signed-urls.mjs';
import { personToken, somebodyOf } from './clients/tokens.mjs';
import { checkServerAt } from './deployed.mjs';
import type { Deployment } from './deployment.mjs';
import { installBeside, installPlugin, installPython } from './install.mjs';
import { readOwnApp } from './own-app.mjs';
import { deploy, deploymentOf, folder, folderOf, imageOf, installed, installPrograms, listr, pluginFolder, pluginLibraries, python, runInVerbatimWorld, runToTheEnd, surround, synthesise, type Programs } from './run.mjs';
import { watchSources } from './watch.mjs';
import { publicPort } from './worlds/by-substitution.mjs';
import { inVerbatimWorld, settle, missingForVerbatim } from './worlds/enter.mjs';

/** An older MLflow. The checks of an upgrade start with its database. */
const oldFolder = join(installed, 'mlflow-old');
const environmentFile = join(folder, 'env.sh');
const report = 'check.json';

type Count = Pick<Checks, 'passed' | 'failed'>;

/** Packages that parts of `--check` need from PyPI. Verbatim worlds cannot reach PyPI, so they are installed first. */
const installs: Record<string, (python: string) => Promise<void>> = {
  'identities': installClient,
  'deployed': installClient,
  'sign-in': installClient,
  'upgrades': found => installPython(oldFolder, found, 'mlflow-old.txt'),
};

async function installClient(): Promise<void> {
  await installBeside(pluginLibraries, python, 'client.txt');
  await installPlugin(pluginFolder, python);
}

/** Parts that run no task. */
const withoutTask = new Set(['names', 'providers']);

/** The other parts run in three worlds at the same time. With this split, all three worlds take equally long. */
const elsewhere: Record<string, Set<string>> = {
  'world-2': new Set(['examples', 'faults', 'rotation', 'network-proxy', 'sessions', 'clean-up', 'own-app', 'sign-in']),
  'world-3': new Set(['behind-the-door', 'scaling', 'upgrades']),
};

/** The parts of `--check`. Each uses its own deployments. */
const phases: Record<string, (checks: Checks, programs: Programs) => Promise<void>> = {
  'world': async (checks, programs) => {
    if (!inVerbatimWorld) {
      console.log(`\nThe task as it is synthesised\n  - skipped: ${bySubstitution ? 'leave out --by-substitution to run it' : `it runs only where ${await missingForVerbatim()}`}`);
      return;
    }
    await checkVerbatim(checks, await deploy('examples/typescript/quick-start', programs, { port }));
  },
  'quick-start': async (checks, programs) => checkQuickStart(checks, await deploy('examples/typescript/quick-start', programs, { port }), python),
  'identities': async (checks, programs) => checkIdentities(checks, await deploy('examples/typescript/cognito', programs, { port }), python, pluginFolder),
  'sign-in': async (checks, programs) => checkTools(checks, await deploy('examples/typescript/cognito', programs, { port }), {
    python, packages: [pluginFolder, pluginLibraries].join(delimiter), program: join(pluginFolder, 'bin', 'mlflow-secure-tracking'),
  }),
  'deployed': async (checks, programs) => checkAsDeployed(checks, await deploy('examples/typescript/cognito', programs, { port })),
  'access': async (checks, programs) => checkLevels(checks, await deploy('examples/typescript/cognito', programs, { port }), python),
  'short-way': async (checks, programs) => checkWays(checks, await deploy('examples/typescript/quick-start', programs, { port })),
  'behind-the-door': async (checks, programs) => checkInside(checks, await deploy('examples/typescript/quick-start', programs, { port })),
  'examples': async (checks, programs) => {
    for (const example of examples) {
      await checkExample(checks, example, await deploy(`examples/typescript/${example}`, programs, { port }), python);
    }
  },
  'scaling': async (checks, programs) => checkTwoTasks(checks, await deploy('examples/typescript/quick-start', programs, { port })),
  'faults': async (checks, programs) => checkResilience(checks, await deploy('examples/typescript/quick-start', programs, { port })),
  'upgrades': async (checks, programs) => {
    const oldImage = await imageOf('an older MLflow', oldFolder);
    await checkUpgrade(checks, { deployment: await surround('examples/typescript/quick-start', programs, { port, images: [oldImage] }), python, oldImage });
  },
  'rotation': async (checks, programs) => {
    const settings = { DATABASE_TOKEN_SECONDS: '3' };
    await checkDatabaseTokens(checks, await deploy('local/apps/rotation-app.ts', programs, { port, settings }), python);
  },
  'network-proxy': async (checks, programs) => checkProxiedNetwork(checks, await deploy('local/apps/network-proxy-app.ts', programs, { port })),
  'sessions': async (checks, programs) => {
    if (findSessionServer() === undefined) {
      console.log('\nSessions on the server\n  - skipped: valkey-server or redis-server is not installed');
      return;
    }
    await checkServerSessions(checks, await deploy('local/apps/session-store-app.ts', programs, { port }));
  },
  'clean-up': async (checks, programs) => checkRemoval(checks, await deploy('local/apps/clean-up-app.ts', programs, { port })),
  'own-app': async (checks, programs) => {
    const deployment = await deploy({ title: 'an app with stages', read: output => readOwnApp(ownApp, ownStack, output) }, programs, { port });
    await checkOwnApp(checks, {
      deployment,
      assembly: join(folder, 'cdk.out'),
      output: join(folder, 'own-app'),
      tryToRun: async template => deploymentOf(await template, programs.proxy, { folder: join(folder, 'own-app'), port: port + 1 }),
    });
  },
  'names': async (checks, { proxy }) => {
    await checkNames(checks, { python, proxy });
    await checkSignedUrls(checks, python, Template.read(await synthesise('examples/typescript/quick-start/app.ts')));
  },
  'providers': async (checks, { proxy }) => checkProviders(checks, { assembly: await synthesise('local/apps/providers-app.ts'), proxy }),
};

const { check, watch, port, bySubstitution, app, stack, url: deployedAt, write } = new Command('npm run try --')
  .description('Runs the quick start on this machine: the synthesised task with the real programs, without an AWS account.')
  .addOption(new Option('--check [phases...]', 'check the server as people, programs and intruders would use it, print a line for each check, and end; all phases, or those that you name').choices(Object.keys(phases)))
  .addOption(new Option('--by-substitution', 'adapt the task to this machine, even where it could run unchanged'))
  .addOption(new Option('--url <url>', 'with --check: check a deployed server and change nothing; the bearer token is read from MLFLOW_TRACKING_TOKEN').argParser(parseOrigin).conflicts(['app', 'watch']))
  .addOption(new Option('--write', 'with --url: also run a training job there'))
  .addOption(new Option('--app <command>', 'run your own app instead: the command in `app` of its cdk.json, or the folder of a cloud assembly').conflicts(['check', 'watch']))
  .addOption(new Option('--stack <name>', 'the stack to run, if several stacks have a SecureMlflow'))
  .addOption(new Option('--watch', 'apply changes of src/, containers/ and the example: a new task replaces the running one and keeps its data').conflicts('check'))
  .addOption(new Option('--port <port>', 'the port of MLflow; a second checkout that runs at the same time needs another port').argParser(parsePort).default(publicPort))
  .parse()
  .opts<{ check?: true | string[]; watch?: true; port: number; bySubstitution?: true; app?: string; stack?: string; url?: string; write?: true }>();

function parsePort(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > 65_535) {
    throw new InvalidArgumentError('Expected a number from 1 to 65535.');
  }
  return number;
}

function parseOrigin(text: string): string {
  const { protocol, origin, href } = URL.canParse(text) ? new URL(text) : { protocol: undefined, origin: '', href: '' };
  if (protocol !== 'https:' || href !== `${origin}/`) {
    throw new InvalidArgumentError('Expected https:// and a host, without a path.');
  }
  return origin;
}

async function main(stopping: AbortSignal): Promise<boolean> {
  if (deployedAt !== undefined) {
    return runAgainst(deployedAt);
  }
  if (write || (stack !== undefined && app === undefined)) {
    throw new Error(write ? '--write needs --url' : '--stack needs --app');
  }
  if (inVerbatimWorld) {
    await settle(folder);
  }
  const programs = await installPrograms();
  if (check) {
    const names = check === true ? Object.keys(phases) : check;
    await new Listr(names.filter(name => name in installs).map(name => ({ title: `Install the packages that ${name} needs from PyPI`, task: () => installs[name](programs.python) })), listr).run();
    const inOneWorld = inVerbatimWorld || bySubstitution || await missingForVerbatim() !== undefined;
    return inOneWorld ? runChecks(names, programs) : runInAllWorlds(names, programs);
  }
  const example = 'examples/typescript/quick-start';
  const running = await deploy(app === undefined ? example : { title: app, read: output => readOwnApp(app, stack, output) }, programs, { port });
  await explain(running);
  if (app === undefined) {
    const missing = await missingForVerbatim();
    console.log(`\nTo run the task unchanged, as it is synthesised: \`npm run try -- --check world\`${missing === undefined ? '' : ` (only where ${missing})`}.\n`);
  }
  const unwanted = watch ? watchSources(running, join(example, 'app.ts')) : failWhenItEnds(running);
  console.log('Ctrl-C stops everything.');
  await Promise.race([unwanted, once(stopping, 'abort')]);
  return true;
}

async function runAgainst(url: string): Promise<boolean> {
  if (check !== true) {
    throw new Error('--url needs --check without names of parts');
  }
  const checks = new Checks();
  await checkServerAt(checks, { url, write: write === true, needStack: Object.keys(phases).filter(name => name !== 'deployed') });
  return conclude(checks, 'deployed.json');
}

async function explain({ url, caFile, issuer, clients, logs, proxy }: Deployment): Promise<void> {
  const { reader, domain } = somebodyOf(proxy.env, issuer);
  const token = await personToken(issuer.issuer, clients, reader);
  const lines = [
    `export MLFLOW_TRACKING_URI=${url}`,
    `export MLFLOW_TRACKING_TOKEN=${token}`,
    `export MLFLOW_TRACKING_SERVER_CERT_PATH=${caFile}`,
  ];
  writeFileSync(environmentFile, `${lines.join('\n')}\n`, { mode: 0o600 });
  console.log(`
MLflow runs at ${url}

In a browser: open the URL, accept the certificate of this run, and sign in with any address that ends in @${domain}.
In a program: paste these lines, or run \`source ${relative(process.cwd(), environmentFile)}\`. The bearer token is for ${reader} and expires after eight hours.

${lines.join('\n')}

Logs: ${relative(process.cwd(), logs)}/`);
}

async function failWhenItEnds({ task }: Deployment): Promise<never> {
  throw new Error(`the task has stopped: ${await task.ended}`);
}

/** Runs all worlds at the same time, because they wait more than they compute. The output of each verbatim world is shown in one piece. */
async function runInAllWorlds(names: string[], programs: Programs): Promise<boolean> {
  const rest = names.filter(name => withoutTask.has(name));
  const tasks = names.filter(name => !withoutTask.has(name));
  const taken = new Set(Object.values(elsewhere).flatMap(parts => [...parts]));
  const worlds = Object.entries({ 'world-1': { has: (name: string) => !taken.has(name) }, ...elsewhere })
    .map(([world, parts]) => [world, tasks.filter(name => parts.has(name))] as const)
    .filter(([, parts]) => parts.length > 0);
  const output = rest.length > 0 || worlds.length > 1 ? 'keep' : 'show';
  const results = await Promise.allSettled([
    ...rest.length > 0 ? [countChecks(rest, programs)] : [],
    ...worlds.map(([world, parts]) => checkInVerbatimWorld(world, parts, output)),
  ]);
  const failure = results.find(result => result.status === 'rejected');
  if (failure !== undefined) {
    throw failure.reason;
  }
  const counts = results.flatMap(result => result.status === 'fulfilled' ? [result.value] : []);
  const sum = (key: keyof Count) => counts.reduce((total, count) => total + count[key], 0);
  return conclude({ passed: sum('passed'), failed: sum('failed') });
}

async function checkInVerbatimWorld(world: string, parts: string[], output: 'show' | 'keep'): Promise<Count> {
  const counted = join(folderOf(world), report);
  rmSync(counted, { force: true });
  const printed = await runInVerbatimWorld(world, ['--check', ...parts, '--port', String(port)], output);
  if (printed !== undefined) {
    console.log(`\nThe task as it is synthesised: ${parts.join(', ')}\n${printed}`);
  }
  if (!existsSync(counted)) {
    throw new Error(`these checks did not finish: ${parts.join(', ')}`);
  }
  return JSON.parse(readFileSync(counted, 'utf8')) as Count;
}

async function runChecks(names: string[], programs: Programs): Promise<boolean> {
  const count = await countChecks(names, programs);
  return inVerbatimWorld ? note(count) : conclude(count);
}

async function countChecks(names: string[], programs: Programs): Promise<Count> {
  const checks = new Checks();
  const table = [];
  for (const name of names) {
    const started = Date.now();
    await phases[name](checks, programs);
    table.push({ part: name, seconds: Math.round((Date.now() - started) / 1000) });
  }
  console.log();
  console.table(table);
  return checks;
}

function conclude(count: Count, file = report): boolean {
  console.log(`\n${count.passed} passed, ${count.failed} failed`);
  return note(count, file);
}

/** Writes the counts to a file, for the program that started this one. */
function note({ passed, failed }: Count, file = report): boolean {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, file), JSON.stringify({ passed, failed }));
  return failed === 0;
}

runToTheEnd(main);
