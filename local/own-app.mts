/** The app of a user: its cloud assembly, and which of its stacks is run. */

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { anywhere, Template } from './aws/template.mjs';

interface Artifact {
  readonly type: string;
  readonly displayName?: string;
  readonly dependencies?: string[];
  readonly properties?: { readonly directoryName?: string };
}

interface Manifest {
  readonly artifacts?: Record<string, Artifact>;
  readonly missing?: { readonly provider: string }[];
}

/** Stacks of one folder of an assembly; a stage has its own folder. */
interface Stacks {
  readonly assembly: string;
  readonly artifacts: Record<string, Artifact>;
}

/** `app` is the command in `cdk.json`, or the folder of a cloud assembly. The assembly of a command is written to `output`. */
export async function readOwnApp(app: string, stack: string | undefined, output: string): Promise<Template> {
  const where = process.env.INIT_CWD ?? process.cwd(); // npm runs scripts in the folder of the package
  const folder = resolve(where, app);
  if (existsSync(join(folder, 'manifest.json'))) {
    return readServer(folder, stack);
  }
  rmSync(output, { recursive: true, force: true });
  const { failed } = await execa(app, {
    shell: true, cwd: where, env: { ...account, CDK_OUTDIR: output, CDK_CONTEXT_JSON: JSON.stringify(contextOf(where)) }, stdio: ['ignore', 'inherit', 'inherit'], reject: false,
  });
  if (failed || !existsSync(join(output, 'manifest.json'))) {
    throw new Error(`\`${app}\`, run in ${where}, did not write a cloud assembly: --app needs the command in \`app\` of cdk.json, or a folder such as cdk.out`);
  }
  return readServer(output, stack);
}

/** Account and region, which the `cdk` command takes from its credentials and passes to the app. */
const account = {
  CDK_DEFAULT_ACCOUNT: process.env.CDK_DEFAULT_ACCOUNT ?? anywhere.account,
  CDK_DEFAULT_REGION: process.env.CDK_DEFAULT_REGION ?? anywhere.region,
};

/** The context, as the `cdk` command passes it to the app. */
function contextOf(where: string): object {
  const read = (file: string) => existsSync(join(where, file)) ? JSON.parse(readFileSync(join(where, file), 'utf8')) : {};
  return { ...read('cdk.json').context, ...read('cdk.context.json') };
}

function readServer(folder: string, wanted: string | undefined): Template {
  const { missing = [] } = manifestOf(folder);
  if (missing.length > 0) {
    const looked = [...new Set(missing.map(({ provider }) => provider))].join(', ');
    console.log(`\nThe CDK's dummy values are used for these lookups: ${looked}. Run \`cdk synth\` with credentials to store the real values in cdk.context.json.`);
  }
  const found = stacksOf(folder).flatMap(stacks => Object.entries(stacks.artifacts)
    .filter(([name, { type }]) => type === 'aws:cloudformation:stack' && servers(stacks.assembly, name) > 0)
    .map(([name, { displayName = name }]) => ({ ...stacks, name, label: displayName.split(' ')[0] }))); // "Test/Research (Test-Research)"
  const names = found.map(({ label }) => label).join(', ');
  if (found.length === 0) {
    throw new Error(`no stack in ${folder} has a SecureMlflow`);
  }
  const chosen = wanted === undefined ? found : found.filter(({ name, label }) => [name, label].includes(wanted));
  if (chosen.length !== 1) {
    throw new Error(wanted === undefined ? `several stacks have a SecureMlflow: name one with --stack (${names})` : `${wanted} is not a stack with a SecureMlflow; the stacks with one are ${names}`);
  }
  const [{ assembly, artifacts, name }] = chosen;
  if (servers(assembly, name) > 1) {
    throw new Error(`${name} has several SecureMlflow: only a stack with one can be run here`);
  }
  return Template.read(assembly, withDependencies(artifacts, name));
}

function manifestOf(assembly: string): Manifest {
  return JSON.parse(readFileSync(join(assembly, 'manifest.json'), 'utf8')) as Manifest;
}

function stacksOf(assembly: string): Stacks[] {
  const { artifacts = {} } = manifestOf(assembly);
  const stages = Object.values(artifacts).filter(({ type }) => type === 'cdk:cloud-assembly');
  return [{ assembly, artifacts }, ...stages.flatMap(({ properties }) => stacksOf(join(assembly, properties!.directoryName!)))];
}

interface Tasks { readonly Resources?: Record<string, { readonly Properties?: { readonly ContainerDefinitions?: { readonly Name: string }[] } }> }

/** The number of SecureMlflow in a stack. */
function servers(assembly: string, stack: string): number {
  const { Resources = {} } = JSON.parse(readFileSync(join(assembly, `${stack}.template.json`), 'utf8')) as Tasks;
  return Object.values(Resources).filter(({ Properties }) => Properties?.ContainerDefinitions?.some(({ Name }) => Name === 'mlflow')).length;
}

/** The stack, and the stacks whose outputs it imports. */
function withDependencies(artifacts: Record<string, Artifact>, name: string): string[] {
  const needed = (artifacts[name].dependencies ?? []).filter(other => artifacts[other].type === 'aws:cloudformation:stack');
  return [...new Set([name, ...needed.flatMap(other => withDependencies(artifacts, other))])];
}
