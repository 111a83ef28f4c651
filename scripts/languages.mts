/**
 * Runs the examples as users do: installed from the built packages, synthesised by the CDK's command line. Every language must give the same
 * template as TypeScript. All use the lowest supported CDK, which the examples in Java and Go name. The unit tests also run on the newest.
 */

import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { execa } from 'execa';
import { install, installPython, packaged, root, run, work, type Count } from './steps.mjs';

interface Language {
  /** The folder of its examples. */
  readonly source: string;
  readonly examples: string[];
  /** The environment of the CDK's command line. */
  readonly env?: Record<string, string>;
  /** Runs once, in the folder for the copies of its examples. Installs the dependencies and the built package. */
  install?(folder: string): Promise<void>;
  /** Prepares one copy. */
  prepare?(copy: string): Promise<void>;
}

const floor = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).devDependencies['aws-cdk-lib'] as string;
const typescript = examplesIn('typescript');
const venv = join(work, 'Python', '.venv', 'bin');

/** TypeScript is first, because the others are compared with its templates and use its CDK command line. */
const languages: Record<string, Language> = {
  'TypeScript': {
    source: 'typescript',
    examples: typescript,
    install: folder => install(folder, nodeDependencies()),
    prepare: copy => run('../node_modules/.bin/tsc', [], { cwd: copy }),
  },
  // Its compiler creates the program that is run, and checks every declaration of the CDK and of this package.
  'TypeScript 7': {
    source: 'typescript',
    examples: ['quick-start'],
    install: folder => install(folder, { ...nodeDependencies(), typescript: '^7' }),
    prepare: copy => run('../node_modules/.bin/tsc', ['--skipLibCheck', 'false', '--noEmit', 'false'], { cwd: copy }),
    env: { CDK_APP: 'node app.js' },
  },
  'Python': {
    source: 'python',
    examples: [...new Set([...typescript, ...examplesIn('python')])], // each must exist in both languages
    install: folder => installPython(folder, ...pythonDependencies()),
    env: { PATH: `${venv}:${process.env.PATH}` },
  },
  'Java': { source: 'java', examples: examplesIn('java'), install: installJava },
  'Go': { source: 'go', examples: examplesIn('go'), prepare: prepareGo },
};

export async function compareLanguages(): Promise<Count> {
  const count = { passed: 0, failed: 0 };
  for (const [name, language] of Object.entries(languages)) {
    const folder = join(work, name);
    mkdirSync(folder, { recursive: true });
    await language.install?.(folder);
    for (const example of language.examples) {
      const copy = join(folder, example);
      cpSync(join(root, 'examples', language.source, example), copy, { recursive: true });
      await language.prepare?.(copy);
      await run(join(work, 'TypeScript', 'node_modules', '.bin', 'cdk'), ['synth', '--quiet'], { cwd: copy, env: language.env });
      const model = join(work, 'TypeScript', example);
      if (copy === model) {
        continue;
      }
      const same = isDeepStrictEqual(templatesIn(copy), templatesIn(model));
      count[same ? 'passed' : 'failed'] += 1;
      console.log(same ? `✓ ${example}: ${name} gives the same template as TypeScript` : `✗ ${example}: the templates differ, compare ${copy} and ${model}`);
    }
  }
  return count;
}

/** Checks at the start that a JDK for the Java example, which is compiled for Java 17, is installed. */
export async function requireJava(): Promise<void> {
  const javac = await execa('javac', ['-version'], { reject: false });
  const maven = await execa('mvn', ['--version'], { reject: false });
  if (maven.failed || !(Number(/^javac (\d+)/m.exec(javac.stdout ?? '')?.[1]) >= 17)) {
    throw new Error('A JDK of 17 or newer and Maven are needed for the Java package: install them so that `javac` and `mvn` are on the path.');
  }
}

function examplesIn(source: string): string[] {
  return readdirSync(join(root, 'examples', source));
}

/** The dependencies of all examples. */
function nodeDependencies(): Record<string, string> {
  const manifests = typescript.map(example => JSON.parse(readFileSync(join(root, 'examples', 'typescript', example, 'package.json'), 'utf8')));
  const wanted = Object.assign({}, ...manifests.flatMap(({ dependencies, devDependencies }) => [dependencies, devDependencies]));
  return { ...wanted, 'aws-cdk-lib': floor, 'cdk-secure-mlflow': packaged('js', '.tgz') };
}

function pythonDependencies(): string[] {
  const requirements = examplesIn('python').flatMap(example => ['--requirement', join(root, 'examples', 'python', example, 'requirements.txt')]);
  return [packaged('python', '.whl'), `aws-cdk-lib==${floor}`, ...requirements];
}

/** Uses a separate local repository, so that no earlier installation is used. The built package already has the layout of a repository. */
async function installJava(folder: string): Promise<void> {
  cpSync(join(root, 'dist', 'java'), join(folder, 'repository'), { recursive: true });
  const version = basename(dirname(packaged('java', '.pom')));
  mkdirSync(join(folder, '.mvn')); // Maven searches for it in the parent folders of an example
  writeFileSync(join(folder, '.mvn', 'maven.config'), `-Dmaven.repo.local=../repository\n-Dcdk-secure-mlflow.version=${version}\n`);
}

async function prepareGo(copy: string): Promise<void> {
  const file = packaged('go', '/go.mod');
  const module = /^module (.+)$/m.exec(readFileSync(file, 'utf8'))![1];
  await run('go', ['mod', 'edit', `-replace=${module}=${dirname(file)}`], { cwd: copy });
  await run('go', ['mod', 'tidy'], { cwd: copy });
}

function templatesIn(copy: string): Record<string, string> {
  const folder = join(copy, 'cdk.out');
  const names = readdirSync(folder).filter(name => name.endsWith('.template.json'));
  if (names.length === 0) {
    throw new Error(`there is no template in ${folder}`);
  }
  return Object.fromEntries(names.map(name => [name, readFileSync(join(folder, name), 'utf8')]));
}
