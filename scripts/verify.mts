/**
 * Everything that a merge must pass, in one command: runs the steps below, prints a table of them and then `N passed, N failed`.
 * `npm run verify -- <steps>` runs only the named steps. Steps that use the packages need `build` to have run before.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Argument, Command } from 'commander';
import { execa } from 'execa';
import { checkDocs } from './docs.mjs';
import { compareLanguages, requireJava } from './languages.mjs';
import { checkPictures } from './pictures.mjs';
import { rehearseRelease } from './release.mjs';
import { checkSite } from './site.mjs';
import { install, installPython, root, run, work, type Count } from './steps.mjs';
import { checkTwoCheckouts } from './two-checkouts.mjs';
import { checkMoney } from '../bench/check-money.mjs';
import { subject } from '../bench/servers.mjs';
import type { Table } from '../bench/table.mjs';
import { installBeside } from '../local/install.mjs';
import { folder, installMlflow, python } from '../local/run.mjs';

const steps: Record<string, [title: string, run: () => Promise<Count>]> = {
  'build': ['build: compile, API.md, unit tests, lint, packages', build],
  'newest': ['unit tests and types on the newest aws-cdk-lib', testOnNewest],
  'python': ['unit tests of the Python code in the containers', testPython],
  'deployment': ['the checks of the deployment on this machine', checkDeployment],
  'ctrl-c': ['two checkouts of the deployment on this machine, stopped with Ctrl-C', checkTwoCheckouts],
  'bench': ['each measurement runs: npm run bench -- --quick', benchQuickly],
  'languages': ['examples with the packages: each language gives the same template as TypeScript', compareLanguages],
  'plugin': ['tests of the Python package for clients', testPlugin],
  'release': ['the release, rehearsed', rehearseRelease],
  'costs': ['costs: the arithmetic, README.md and docs/costs.md', checkMoney],
  'docs': ['documentation: links, commands, code, figures, words', checkDocs],
  'site': ['the site: pages, links, search', checkSite],
  'pictures': ['pictures match their sources', checkPictures],
};
/** These steps need the same ports, so they run one after the other. They mostly wait, so the other steps run at the same time. */
const inTurn = ['deployment', 'ctrl-c', 'bench'];
const rows = join(work, 'rows');

async function build(): Promise<Count> {
  const before = await changes();
  // `CI` would leave out the packages of the other languages.
  await run('npx', ['projen', 'build'], { env: { CI: undefined } });
  const after = await changes();
  if (after !== before) {
    throw new Error(`the build changed files that git tracks; commit them:\n${after}`);
  }
  return countIn(join(root, 'test-reports', 'junit.xml'));
}

/** The differences from the last commit. */
async function changes(): Promise<string> {
  const { stdout } = await execa('git', ['diff', 'HEAD'], { cwd: root });
  return stdout;
}

/** Compiles and tests the unchanged sources with the newest release of the CDK. */
async function testOnNewest(): Promise<Count> {
  const newest = join(work, 'newest');
  await install(newest, { 'aws-cdk-lib': '^2', 'constructs': '^10' });
  const modules = join(newest, 'node_modules');
  console.log(`aws-cdk-lib ${JSON.parse(readFileSync(join(modules, 'aws-cdk-lib', 'package.json'), 'utf8')).version}`);

  const tsconfig = join(newest, 'tsconfig.json');
  writeFileSync(tsconfig, JSON.stringify({
    extends: join(root, 'tsconfig.dev.json'),
    compilerOptions: {
      rootDir: root,
      typeRoots: [join(root, 'node_modules', '@types')],
      paths: { 'aws-cdk-lib': [join(modules, 'aws-cdk-lib')], 'aws-cdk-lib/*': [join(modules, 'aws-cdk-lib', '*')], 'constructs': [join(modules, 'constructs')] },
    },
    include: [join(root, 'src/**/*.ts')],
  }));
  await run('npx', ['tsc', '--project', tsconfig]);

  const jest = JSON.parse(readFileSync(join(root, 'jest.config.json'), 'utf8'));
  const report = join(newest, 'test-reports');
  const config = join(newest, 'jest.config.json');
  writeFileSync(config, JSON.stringify({
    ...jest,
    rootDir: root,
    collectCoverage: false,
    reporters: ['default', ['jest-junit', { outputDirectory: report }]],
    moduleNameMapper: { '^(aws-cdk-lib|constructs)(/.*)?$': `${modules}/$1$2` },
  }));
  await run('npx', ['jest', '--ci', '--config', config]);
  return countIn(join(report, 'junit.xml'));
}

/** Uses the Python environment that stands in for MLflow's image. */
async function testPython(): Promise<Count> {
  await installMlflow();
  const pytest = join(folder, 'pytest');
  await installBeside(pytest, python, 'pytest.txt');
  const report = join(work, 'python.xml');
  rmSync(report, { force: true });
  await run(python, ['-m', 'pytest', '-p', 'no:cacheprovider', '--quiet', `--junit-xml=${report}`, join(root, 'test', 'python')], { env: { PYTHONPATH: pytest }, reject: false });
  return countIn(report);
}

async function checkDeployment(): Promise<Count> {
  const report = join(root, '.try', 'check.json');
  rmSync(report, { force: true });
  await execa('npm', ['run', '--silent', 'try', '--', '--check'], { cwd: root, stdio: 'inherit', reject: false });
  return JSON.parse(readFileSync(report, 'utf8')) as Count;
}

/** The figures of a quick run mean nothing. It fails only if a measurement of this library fails; failures of the compared servers do not count. */
async function benchQuickly(): Promise<Count> {
  const report = join(root, '.try', 'bench.json');
  rmSync(report, { force: true });
  await run('npm', ['run', '--silent', 'bench', '--', '--quick']);
  const tables = JSON.parse(readFileSync(report, 'utf8')) as Table[];
  const failedIn = (row: Table['rows'][number]) => Object.entries(row).some(([column, figure]) => column.startsWith(subject) && /failed|not served/.test(`${figure}`));
  const failed = tables.filter(table => table.rows.some(failedIn)).length;
  return { passed: tables.length - failed, failed };
}

/** Runs the tests of the Python package for clients in a separate virtual environment. */
async function testPlugin(): Promise<Count> {
  const source = join(root, 'clients', 'python');
  const environment = join(work, 'client');
  const report = join(environment, 'junit.xml');
  await installPython(environment, `${source}[test]`);
  await run(join(environment, '.venv', 'bin', 'pytest'), ['-p', 'no:cacheprovider', '--quiet', `--junit-xml=${report}`], { cwd: source, reject: false });
  return countIn(report);
}

/** Counts the tests in a JUnit report of jest or pytest. */
function countIn(report: string): Count {
  const suites = [...readFileSync(report, 'utf8').matchAll(/<testsuite .*?>/gs)].map(([suite]) => suite);
  const sum = (name: string) => suites.reduce((total, suite) => total + Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)?.[1] ?? 0), 0);
  const failed = sum('failures') + sum('errors');
  return { passed: sum('tests') - sum('skipped') - failed, failed };
}

/** Runs a step and writes its row of the table to a file. */
async function take(name: string): Promise<void> {
  const [title, step] = steps[name];
  console.log(`\n=== ${title}`);
  rmSync(join(rows, name), { force: true });
  const started = Date.now();
  const count = await step().catch((error: Error): Count => {
    console.error(`✗ ${title}: ${error.message}`);
    return { passed: 0, failed: 1 };
  });
  mkdirSync(rows, { recursive: true });
  writeFileSync(join(rows, name), JSON.stringify({ step: title, ...count, seconds: Math.round((Date.now() - started) / 1000) }));
}

async function takeAll(names: string[]): Promise<void> {
  for (const name of names) {
    await take(name);
  }
}

/** Runs all steps. Those that do not need the ports run in a second process, whose output is shown in one piece. */
async function takeEverything(): Promise<void> {
  rmSync(work, { recursive: true, force: true });
  await take('build');
  await installMlflow(); // now, so that two steps do not do it at the same time
  const others = Object.keys(steps).filter(name => name !== 'build' && !inTurn.includes(name));
  const beside = execa('node', ['--import', 'tsx', import.meta.filename, ...others], { cwd: root, all: true, reject: false });
  await takeAll(inTurn);
  console.log((await beside).all);
}

function rowOf(name: string): Count & { readonly step: string } {
  try {
    return JSON.parse(readFileSync(join(rows, name), 'utf8'));
  } catch {
    return { step: `${steps[name][0]}: did not finish`, passed: 0, failed: 1 };
  }
}

// Some machines have Node 20. The runtime of jsii works with it, so its warning is switched off.
process.env.JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION = '20';

const [chosen] = new Command('npm run verify --')
  .description('Everything that a merge must pass, or some of its steps.')
  .addArgument(new Argument('[steps...]').choices(Object.keys(steps)))
  .parse()
  .processedArgs as [string[] | undefined];

await requireJava().catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
await (chosen?.length ? takeAll(chosen) : takeEverything());
const table = (chosen?.length ? chosen : Object.keys(steps)).map(rowOf);
console.log();
console.table(table);
const sum = (key: 'passed' | 'failed') => table.reduce((total, row) => total + row[key], 0);
process.exitCode = sum('failed') === 0 && sum('passed') > 0 ? 0 : 1;
console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
