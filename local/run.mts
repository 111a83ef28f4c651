/** Installs the programs, synthesises an app, runs what it describes, and stops everything. */

import { mkdirSync, rmSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { execa } from 'execa';
import { Listr, PRESET_TIMER } from 'listr2';
import { parseUser, type Program } from './aws/substitutions.mjs';
import { Template } from './aws/template.mjs';
import { Deployment, type Place } from './deployment.mjs';
import { canRun, findPython, installProxy, installPython } from './install.mjs';
import { publicPort, WorldBySubstitution } from './worlds/by-substitution.mjs';
import { enter, folderOfWorld, inVerbatimWorld } from './worlds/enter.mjs';
import { limitsMemory } from './worlds/memory.mjs';
import { filesOfPython, VerbatimWorld } from './worlds/verbatim.mjs';

export const root = resolve(import.meta.dirname, '..');
/** Programs are installed here once, for all runs. */
export const installed = join(root, '.try');
/** A run writes to this folder. Each of the runs at the same time has its own. */
export const folder = folderOfWorld ?? installed;
const mlflowFolder = join(installed, 'mlflow');
/** The Python of the image, and of the clients in the checks. */
export const python = join(mlflowFolder, 'bin', 'python');
/** The package for clients, in a folder for PYTHONPATH. */
export const pluginFolder = join(installed, 'client');
/** The dependencies of that package, in another folder for PYTHONPATH. */
export const pluginLibraries = join(installed, 'client-libraries');
const awsFolder = join(installed, 'aws');

export interface Programs {
  python: string;
  proxy: string;
}

const timed = { timer: PRESET_TIMER };
export const listr = { rendererOptions: timed, fallbackRendererOptions: timed, registerSignalListeners: false } as const;
const stopping = new AbortController();
const deployments: Deployment[] = [];
const inner: { stop(): Promise<void> }[] = [];

export async function installPrograms(): Promise<Programs> {
  mkdirSync(folder, { recursive: true });
  return new Listr<Programs>([
    {
      title: 'Install the programs (takes minutes the first time)',
      task: (_, task) => task.newListr([
        {
          title: 'MLflow and scikit-learn from PyPI, S3 from PyPI (moto)',
          task: async context => {
            context.python = await installMlflow();
            await installPython(awsFolder, context.python, 'aws.txt');
          },
        },
        { title: 'oauth2-proxy from its Go module', task: async context => { context.proxy = await installProxy(join(installed, 'oauth2-proxy')); } },
      ], { concurrent: true }),
    },
  ], listr).run({} as Programs);
}

/** Returns the Python with which MLflow is installed. */
export async function installMlflow(): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const found = await findPython(asRoot() ? { uid: 10001, gid: 10001 } : undefined);
  await installPython(mlflowFolder, found, 'mlflow.txt');
  return found;
}

function asRoot(): boolean {
  return process.getuid!() === 0;
}

/** An app that is not one of the examples. */
export interface OwnApp {
  readonly title: string;
  read(output: string): Promise<Template>;
}

/** Synthesises an app and runs what it describes. */
export async function deploy(app: string | OwnApp, programs: Programs, place?: Partial<Place>): Promise<Deployment> {
  const created = await surround(app, programs, place);
  await new Listr([
    { title: 'Start the task: prepare, then mlflow, then oauth2-proxy', task: (_, task) => created.startTask(status => { task.output = status; }) },
  ], listr).run();
  return created;
}

/** Starts everything except the task. Use a different folder for each deployment that runs at the same time. */
export async function surround(app: string | OwnApp, { proxy }: Programs, place: Partial<Place> = {}): Promise<Deployment> {
  const { created } = await new Listr<{ template: Template; created: Deployment }>([
    {
      title: `Synthesise ${typeof app === 'string' ? app : app.title}`,
      task: async context => { context.template = typeof app === 'string' ? await readExample(app) : await app.read(join(folder, 'cdk.out')); },
    },
    { title: 'Read the template', task: async context => { context.created = await deploymentOf(context.template, proxy, { folder, port: publicPort, ...place }); } },
  ], listr).run();
  deployments.push(created);
  showSubstitutions(created);
  await new Listr([
    { title: 'Start PostgreSQL', task: () => created.startDatabase() },
    { title: 'Start the session store', enabled: () => created.sessionServer !== undefined, task: () => created.startSessionServer() },
    { title: 'Start the stand-in for S3, with the policy of the task role', task: () => created.startS3() },
    { title: 'Start the stand-in for the sign-in provider; write the CA bundle', task: () => created.startIssuers() },
  ], listr).run();
  return created;
}

const notSimulated = [
  'the two images', 'DNS servers', 'IPv6', 'network ACLs and route tables', 'KMS', 'limits of processor time and disk', 'the log driver', 'the metadata of a task',
  'the permissions of the role that starts tasks',
  ...inVerbatimWorld ? limitsMemory ? [] : ['limits of memory, because this machine has no control group for memory'] : ['security groups', 'limits of memory', 'capabilities', 'read-only files'],
];

export function showSubstitutions({ substitutions }: Deployment): void {
  console.log(`\nThe task ${inVerbatimWorld ? 'runs as it is synthesised' : 'is adapted to this machine'}. All differences from AWS:`);
  console.table(substitutions.table.map(({ what, aws, here }) => ({ what, 'on AWS': aws, here })));
  console.log(`Not simulated: ${notSimulated.join(', ')}.`);
}

async function readExample(app: string): Promise<Template> {
  return Template.read(await synthesise(app.endsWith('.ts') ? app : join(app, 'app.ts')));
}

/** Returns the folder of the cloud assembly. Pass another folder while a deployment uses the default one. */
export async function synthesise(app: string, assembly = join(folder, 'cdk.out')): Promise<string> {
  rmSync(assembly, { recursive: true, force: true });
  await execa('tsx', ['--tsconfig', join(root, 'local', 'examples.tsconfig.json'), join(root, app)], {
    cwd: root, preferLocal: true, env: { CDK_OUTDIR: assembly },
  });
  return assembly;
}

/** Creates a deployment without starting it. */
export async function deploymentOf(template: Template, proxy: string, place: Place): Promise<Deployment> {
  const users = template.all<{ ContainerDefinitions: { User: string }[] }>('AWS::ECS::TaskDefinition')
    .flatMap(({ ContainerDefinitions }) => ContainerDefinitions.map(({ User }) => parseUser(User)));
  const declaredUsers = asRoot() && (await Promise.all(users.map(user => canRun(python, user)))).every(Boolean);
  if (inVerbatimWorld && !declaredUsers) {
    throw new Error(`the users of the task cannot run ${python}, because its Python is in a folder that they cannot read: install Python 3.10 or newer in a folder that all users can read, or use --by-substitution`);
  }
  const programs: Program[] = [
    await imageOf('ghcr.io/mlflow/mlflow', mlflowFolder),
    { image: 'quay.io/oauth2-proxy/oauth2-proxy', entryPoint: [proxy], path: '/usr/bin:/bin', here: proxy, mounts: [{ source: proxy, destination: proxy }], trust: [] },
    ...place.images ?? [],
  ];
  const world = inVerbatimWorld ? new VerbatimWorld(template, join(place.folder, 'containers'), programs) : new WorldBySubstitution(place.port);
  const created = await Deployment.create(template, { ...place, world, programs, awsPython: join(awsFolder, 'bin', 'python'), declaredUsers });
  await created.refuseTakenPorts();
  return created;
}

/** A stand-in for an image of MLflow: a Python environment. */
export async function imageOf(image: string, environment: string): Promise<Program> {
  const programs = join(environment, 'bin');
  const path = [programs, '/usr/local/bin', '/usr/bin', '/bin'].join(delimiter);
  return { image, entryPoint: [], path, here: `${environment} (PyPI)`, ...await filesOfPython(join(programs, 'python'), environment) };
}

/** Runs a command until it ends or Ctrl-C is pressed, and stops everything that it deployed. The exit code is 1 if it returns false or throws. */
export function runToTheEnd(main: (stopping: AbortSignal) => Promise<boolean>): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // Not `once`: in a terminal, listr2 loads signal-exit, which kills this process if it finds no listener but its own. npm sends a signal again.
    process.on(signal, () => {
      if (!stopping.signal.aborted) {
        console.log('\nStopping …');
        stopping.abort();
        void finish(130);
      }
    });
  }
  main(stopping.signal).then(
    succeeded => finish(stopping.signal.aborted || succeeded ? 0 : 1),
    async (error: Error) => {
      if (!stopping.signal.aborted) {
        console.error(`\n✗ ${error.message}${error.cause instanceof Error ? `: ${error.cause.message}` : ''}`);
      }
      await finish(stopping.signal.aborted ? 130 : 1);
    },
  );
}

/** The folder to which a run in a verbatim world writes. */
export function folderOf(world: string): string {
  return join(installed, world);
}

/** Runs this program with other arguments in a world where the task runs as it is synthesised. Shows its output, or resolves with the output when it ends. */
export async function runInVerbatimWorld(name: string, args: readonly string[], output: 'show' | 'keep'): Promise<string | undefined> {
  const run = await enter(folderOf(name), args, output);
  inner.push(run);
  return run.ended;
}

async function finish(exitCode: number): Promise<never> {
  await Promise.all([...deployments, ...inner].map(run => run.stop()));
  process.exit(exitCode); // servers that still listen would keep Node running
}
