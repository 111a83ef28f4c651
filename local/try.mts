/** `npm run try`: synthesises the quick start, plays AWS for it and says how to use it. With `--check`, uses it itself and ends. */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join, relative, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { execa } from 'execa';
import { Listr, PRESET_TIMER } from 'listr2';
import { checkDatabaseTokens, checkIdentities, checkQuickStart, checkRemoval, checkResilience, checkTwoTasks, checkUpgrade } from './checks/index.mjs';
import { checkProviders } from './checks/providers.mjs';
import { Checks } from './checks.mjs';
import { Deployment } from './deployment.mjs';
import { canRun, findPython, installProxy, installPython } from './install.mjs';
import { parseUser, type Program } from './substitutions.mjs';
import { Template } from './template.mjs';
import { personToken } from './tokens.mjs';

const root = resolve(import.meta.dirname, '..');
const folder = join(root, '.try');
const mlflowFolder = join(folder, 'mlflow');
/** The Python of the image, and of the clients in the checks. */
const python = join(mlflowFolder, 'bin', 'python');
/** An older MLflow, whose store the checks of an upgrade start from. */
const oldFolder = join(folder, 'mlflow-old');
const awsFolder = join(folder, 'aws');
const assembly = join(folder, 'cdk.out');
const environmentFile = join(folder, 'env.sh');
const reportFile = join(folder, 'check.json');
const reader = 'someone@example.com';

/** What `--check` consists of; each with deployments of its own. */
const phases: Record<string, (checks: Checks, programs: Programs) => Promise<void>> = {
  'quick-start': async (checks, programs) => checkQuickStart(checks, await deploy('examples/typescript/quick-start', programs), python),
  'identities': async (checks, programs) => checkIdentities(checks, await deploy('examples/typescript/cognito', programs), python, join(folder, 'client')),
  'scaling': async (checks, programs) => checkTwoTasks(checks, await deploy('examples/typescript/quick-start', programs)),
  'faults': async (checks, programs) => checkResilience(checks, await deploy('examples/typescript/quick-start', programs)),
  'upgrades': async (checks, programs) => {
    await new Listr([{ title: 'An older MLflow from PyPI', task: () => installPython(oldFolder, programs.python, 'mlflow-old.txt') }], listr).run();
    await checkUpgrade(checks, { deployment: await surround('examples/typescript/quick-start', programs), python, oldPrograms: join(oldFolder, 'bin') });
  },
  'rotation': async (checks, programs) => checkDatabaseTokens(checks, await deploy('local/rotation-app.ts', programs), python),
  'clean-up': async (checks, programs) => checkRemoval(checks, await deploy('local/clean-up-app.ts', programs)),
  'providers': async (checks, { proxy }) => checkProviders(checks, { assembly: await synthesise('local/providers-app.ts'), proxy }),
};

const { check } = new Command('npm run try --')
  .description('Runs the quick start on this machine: the synthesised task with the real programs, no AWS account.')
  .addOption(new Option('--check [phases...]', 'use it as people, programs and intruders would, print a line for each check, and end; all of it, or some phases').choices(Object.keys(phases)))
  .parse()
  .opts<{ check?: true | string[] }>();

interface Programs {
  python: string;
  proxy: string;
}

const listr = { rendererOptions: { timer: PRESET_TIMER }, fallbackRendererOptions: { timer: PRESET_TIMER }, registerSignalListeners: false } as const;
const stopping = new AbortController();
let deployment: Deployment | undefined;

async function main(): Promise<boolean> {
  mkdirSync(folder, { recursive: true });
  const programs = await new Listr<Programs>([
    {
      title: 'Install the programs (minutes the first time)',
      task: (_, task) => task.newListr([
        {
          title: 'MLflow and scikit-learn from PyPI, S3 from PyPI (moto)',
          task: async context => {
            context.python = await findPython(asRoot() ? { uid: 10001, gid: 10001 } : undefined);
            await installPython(mlflowFolder, context.python, 'mlflow.txt');
            await installPython(awsFolder, context.python, 'aws.txt');
          },
        },
        { title: 'oauth2-proxy from its Go module', task: async context => { context.proxy = await installProxy(join(folder, 'oauth2-proxy')); } },
      ], { concurrent: true }),
    },
  ], listr).run({} as Programs);

  if (check) {
    return runChecks(check === true ? Object.keys(phases) : check, programs);
  }
  const quickStart = await deploy('examples/typescript/quick-start', programs);
  await explain(quickStart);
  return waitForTheEnd(quickStart);
}

function asRoot(): boolean {
  return process.getuid!() === 0;
}

/** Synthesises an app and runs what it describes. */
async function deploy(app: string, programs: Programs): Promise<Deployment> {
  const created = await surround(app, programs);
  await new Listr([
    { title: 'The task: prepare, then mlflow, then oauth2-proxy', task: (_, task) => created.startTask(status => { task.output = status; }) },
  ], listr).run();
  return created;
}

/** The same without the task: what it finds when it starts. */
async function surround(app: string, { proxy }: Programs): Promise<Deployment> {
  const { created } = await new Listr<{ template: Template; created: Deployment }>([
    { title: `Synthesise ${app}`, task: async context => { context.template = Template.read(await synthesise(app.endsWith('.ts') ? app : join(app, 'app.ts'))); } },
    { title: 'Read the template', task: async context => { context.created = await deploymentOf(context.template, proxy); } },
  ], listr).run();
  deployment = created;
  console.log('\nWhat differs from AWS, and nothing else does:');
  console.table(created.substitutions.table.map(({ what, aws, here }) => ({ what, 'on AWS': aws, here })));

  await new Listr([
    { title: 'PostgreSQL', task: () => created.startDatabase() },
    { title: 'S3, with the policy of the task role', task: () => created.startS3() },
    { title: 'OpenID provider, CA bundle', task: () => created.startIssuers() },
  ], listr).run();
  return created;
}

/** Returns the folder of the cloud assembly. */
async function synthesise(app: string): Promise<string> {
  rmSync(assembly, { recursive: true, force: true });
  await execa('tsx', ['--tsconfig', join(root, 'local', 'examples.tsconfig.json'), join(root, app)], {
    cwd: root, preferLocal: true, env: { CDK_OUTDIR: assembly },
  });
  return assembly;
}

async function deploymentOf(template: Template, proxy: string): Promise<Deployment> {
  const users = template.all<{ ContainerDefinitions: { User: string }[] }>('AWS::ECS::TaskDefinition')
    .flatMap(({ ContainerDefinitions }) => ContainerDefinitions.map(({ User }) => parseUser(User)));
  const declaredUsers = asRoot() && (await Promise.all(users.map(user => canRun(python, user)))).every(Boolean);
  const path = [join(mlflowFolder, 'bin'), '/usr/local/bin', '/usr/bin', '/bin'].join(delimiter);
  const programs: Program[] = [
    { image: 'ghcr.io/mlflow/mlflow', entryPoint: [], path, here: `${mlflowFolder} (PyPI)` },
    { image: 'quay.io/oauth2-proxy/oauth2-proxy', entryPoint: [proxy], path: '/usr/bin:/bin', here: proxy },
  ];
  const created = await Deployment.create(template, { folder, programs, awsPython: join(awsFolder, 'bin', 'python'), declaredUsers });
  await created.refuseTakenPorts();
  return created;
}

async function explain({ url, caFile, issuer, clients, logs }: Deployment): Promise<void> {
  const token = await personToken(issuer.issuer, clients, reader);
  const lines = [
    `export MLFLOW_TRACKING_URI=${url}`,
    `export MLFLOW_TRACKING_TOKEN=${token}`,
    `export MLFLOW_TRACKING_SERVER_CERT_PATH=${caFile}`,
  ];
  writeFileSync(environmentFile, `${lines.join('\n')}\n`, { mode: 0o600 });
  console.log(`
MLflow is at ${url}

In a browser: open it, accept the certificate of this run, sign in with any address of example.com.
In a program: paste these lines, or \`source ${relative(process.cwd(), environmentFile)}\`. The token is that of ${reader}, for eight hours.

${lines.join('\n')}

Logs: ${relative(process.cwd(), logs)}/`);
}

async function waitForTheEnd({ task }: Deployment): Promise<boolean> {
  console.log('Ctrl-C stops everything.');
  const reason = await Promise.race([task.ended, new Promise<undefined>(stop => stopping.signal.addEventListener('abort', () => stop(undefined)))]);
  if (reason !== undefined) {
    throw new Error(`the task has stopped by itself: ${reason}`);
  }
  return true;
}

async function runChecks(names: string[], programs: Programs): Promise<boolean> {
  const checks = new Checks();
  for (const name of names) {
    await phases[name](checks, programs);
  }
  const { passed, failed } = checks;
  writeFileSync(reportFile, JSON.stringify({ passed, failed }));
  console.log(`\n${passed} passed, ${failed} failed`);
  return failed === 0;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    console.log('\nStopping …');
    stopping.abort();
    void finish(130);
  });
}

async function finish(exitCode: number): Promise<never> {
  await deployment?.stop();
  process.exit(exitCode);
}

main().then(
  succeeded => finish(stopping.signal.aborted || succeeded ? 0 : 1),
  async (error: Error) => {
    if (!stopping.signal.aborted) {
      console.error(`\n✗ ${error.message}`);
    }
    await finish(stopping.signal.aborted ? 130 : 1);
  },
);
