/** The time of synthesis: in one process, with the command, and with several instances in one app. Uses the built packages, as users do. */

import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { execa } from 'execa';
import ts from 'typescript';
import { median, type Options, type Table } from './table.mjs';
import { install, installPython, packaged, root } from '../scripts/steps.mjs';

const work = join(root, '.try', 'bench');
const typescript = join(work, 'typescript');
const python = join(work, 'python');
const cdk = join(typescript, 'node_modules', '.bin', 'cdk');
/** No network requests, and no warning about Node 20. */
const env = { CDK_DISABLE_CLI_TELEMETRY: 'true', CDK_DISABLE_VERSION_CHECK: 'true', JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION: '20' };

/** The output of bench/synthesis-app.ts. Times are in milliseconds. */
interface Run {
  readonly loaded: number;
  readonly repeated: { readonly define: number; readonly synthesise: number; readonly bytes: number }[];
  /** Processor time of the whole process in milliseconds, which hardly depends on other activity of the machine. */
  readonly cpu: number;
  readonly memory: number;
}

/** Whether the CDK validates its output, which is the default. */
const validations = ['on', 'off'] as const;
type Validation = typeof validations[number];

export async function measureSynthesis({ quick }: Options): Promise<Table[]> {
  await prepare(!quick);
  const { version } = JSON.parse(readFileSync(join(typescript, 'node_modules', 'aws-cdk-lib', 'package.json'), 'utf8'));
  const times = quick ? 1 : 3;
  const inOneProcess: Table['rows'] = [];
  const growth: Table['rows'] = [];
  const asCommand: Table['rows'] = [];
  for (const validation of validations) {
    const runs = await repeat(times, () => run(validation, 1, 1 + times));
    const first = (what: 'define' | 'synthesise') => median(runs.map(({ repeated }) => repeated[0][what]));
    const again = (what: 'define' | 'synthesise') => median(runs.flatMap(({ repeated }) => repeated.slice(1).map(one => one[what])));
    inOneProcess.push({
      'aws-cdk-lib': version,
      validation,
      'Node and imports': Math.round(median(runs.map(({ loaded }) => loaded))),
      'define': Math.round(first('define')),
      'synthesise': Math.round(first('synthesise')),
      'define again': Math.round(again('define')),
      'synthesise again': Math.round(again('synthesise')),
    });
    for (const instances of quick ? [1, 2] : [1, 10, 50]) {
      const { loaded, cpu, memory, repeated: [{ define, synthesise, bytes }] } = await run(validation, instances, 1);
      growth.push({
        validation,
        instances,
        'seconds': ((loaded + define + synthesise) / 1000).toFixed(1),
        'CPU seconds': (cpu / 1000).toFixed(1),
        'templates, KB': Math.round(bytes / 1000),
        'memory, MB': Math.round(memory / 1e6),
      });
    }
    for (const folder of [join(typescript, 'empty'), join(typescript, 'quick-start'), ...quick ? [] : [join(python, 'quick-start')]]) {
      const milliseconds = median(await repeat(times, () => synth(folder, validation)));
      asCommand.push({ language: basename(dirname(folder)), app: basename(folder), validation, seconds: (milliseconds / 1000).toFixed(1) });
    }
  }
  return [
    { title: 'Synthesis of the quick start in one process, milliseconds', rows: inOneProcess },
    { title: 'Synthesis by `cdk synth`', rows: asCommand },
    { title: 'Synthesis of more instances in one app', rows: growth },
  ];
}

/** Installs the packages with the newest CDK that they support, and copies the apps. */
async function prepare(withPython: boolean): Promise<void> {
  const source = join(root, 'examples', 'typescript', 'quick-start');
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  await install(typescript, { ...dependencies, ...devDependencies, 'cdk-secure-mlflow': packaged('js', '.tgz') });
  cpSync(source, join(typescript, 'quick-start'), { recursive: true });
  cpSync(source, join(typescript, 'empty'), { recursive: true });
  writeFileSync(join(typescript, 'empty', 'app.ts'), "import { App, Stack } from 'aws-cdk-lib';\nnew Stack(new App(), 'Empty');\n");
  for (const file of ['bench/synthesis-app.ts', 'local/apps/quick-start-variant.ts']) { // compiled first, so that no compiler is measured
    const { outputText } = ts.transpileModule(readFileSync(join(root, file), 'utf8'), { compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 } });
    writeFileSync(join(typescript, `${basename(file, '.ts')}.js`), outputText);
  }
  if (withPython) {
    const pythonSource = join(root, 'examples', 'python', 'quick-start');
    await installPython(python, packaged('python', '.whl'), '--requirement', join(pythonSource, 'requirements.txt'));
    cpSync(pythonSource, join(python, 'quick-start'), { recursive: true });
  }
}

async function run(validation: Validation, instances: number, repetitions: number): Promise<Run> {
  const { stdout } = await execa('node', ['synthesis-app.js', String(instances), String(repetitions)], {
    cwd: typescript, env: { ...env, CDK_VALIDATION: String(validation === 'on') },
  });
  return JSON.parse(stdout) as Run;
}

/** Returns milliseconds. */
async function synth(folder: string, validation: Validation): Promise<number> {
  rmSync(join(folder, 'cdk.out'), { recursive: true, force: true });
  const path = `${join(python, '.venv', 'bin')}:${process.env.PATH}`;
  const { durationMs } = await execa(cdk, ['synth', '--quiet', '--no-notices', ...validation === 'off' ? ['--no-validation'] : []], {
    cwd: folder, env: { ...env, PATH: path },
  });
  return durationMs;
}

async function repeat<T>(times: number, measure: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let time = 0; time < times; time++) {
    results.push(await measure());
  }
  return results;
}
