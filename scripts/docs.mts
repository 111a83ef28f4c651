/**
 * `npm run docs`: links of the pages lead somewhere, their commands are run or marked, their code can be what it says it is, their figures are those of the
 * code, and their words are plain.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, normalize, resolve } from 'node:path';
import { Node, Parser } from 'commonmark';
import { execa } from 'execa';
import GitHubSlugger from 'github-slugger';
import { checkFacts } from './facts.mjs';
import { failWith, proseOfPage } from './prose.mjs';
import { checkTables } from './tables.mjs';
import { checkWords } from './words.mjs';
import { Checks } from '../local/checks/checks.mjs';
import { pageCommands } from '../local/checks/programs.mjs';

const root = resolve(import.meta.dirname, '..');

/** In a heading above a command, or in the paragraph before it. */
const marked = /\bneeds (AWS|Google Cloud|a deployment|the network)\b/i;

/**
 * Commands without that mark, and what shows that something runs them: words of a file; a file that the command names has to exist, too.
 * `pageCommands` are run as they stand in the page.
 */
const runBy: Record<string, readonly [file: string, words: string, named?: string]> = {
  'npm ci': ['.ci/run', 'npm ci'],
  'npm install cdk-secure-mlflow aws-cdk-lib constructs': ['scripts/release.mts', "'npm', ['install', '--no-audit', '--no-fund', `${name}@"],
  'pip install cdk-secure-mlflow': ['scripts/release.mts', "'-m', 'pip', '--python', interpreter, 'install'"],
  'npx projen build': ['scripts/verify.mts', "['projen', 'build']"],
  'npx projen test': ['.projen/tasks.json', '"spawn": "test"'],
  'npx jest --coverage=false test/scaling.test.ts': ['.projen/tasks.json', '"jest",', 'test/scaling.test.ts'],
  'npm run try': ['scripts/two-checkouts.mts', 'new Try(root, '],
  'npm run try -- --watch': ['scripts/two-checkouts.mts', "'--watch'"],
  'npm run try -- --check': ['scripts/verify.mts', "['run', '--silent', 'try', '--', '--check']"],
  'npm run bench -- --quick': ['scripts/verify.mts', "['run', '--silent', 'bench', '--', '--quick']"],
  'npm run rehearse': ['scripts/verify.mts', "'release': ['the release, rehearsed', rehearseRelease]"],
  'npm run verify': ['.ci/run', 'npm run verify'],
  "pip install './clients/python'": ['scripts/verify.mts', '`${source}[test]`'],
  "pip install './clients/python[aws]'": ['scripts/verify.mts', '`${source}[test]`'], // which has all of [aws]
};

interface Block {
  readonly line: number;
  /** The language, and behind it what GitHub does not show. */
  readonly info: string;
  readonly text: string;
  /** The headings above it and the paragraph before it. */
  readonly words: string;
}

interface Page {
  readonly path: string;
  readonly anchors: Set<string>;
  readonly links: { readonly line: number; readonly to: string }[];
  readonly blocks: Block[];
}

export async function checkDocs(): Promise<Checks> {
  const { stdout } = await execa('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: root });
  const pages = new Map(stdout.split('\n').map(path => [path, read(path)]));
  const checks = new Checks();
  checks.heading('In the pages');
  await checks.check('every link to a file or a heading leads somewhere', async () => failWith([...pages.values()].flatMap(page => deadLinks(page, pages))));
  await checks.check('every page of docs/ is in its index', async () => {
    const index = new Set(pages.get('docs/README.md')!.links.map(({ to }) => to.split('#')[0]));
    failWith([...pages.keys()].filter(path => dirname(path) === 'docs' && path !== 'docs/README.md' && !index.has(basename(path))));
  });

  const blocks = [...pages.values()].flatMap(page => page.blocks.map(block => ({ ...block, page: page.path, at: `${page.path}:${block.line}` })));
  const of = (...languages: string[]) => blocks.filter(({ info }) => languages.includes(info.split(' ')[0]));
  await checks.check('every block of code says its language; commands are `sh`, `ts` is TypeScript', async () => { // or the checks below would not see it
    failWith(of('', 'bash', 'console', 'shell', 'zsh', 'py', 'typescript').filter(({ page }) => page !== 'API.md').map(({ at, info }) => `${at} ${info}`));
  });
  await checks.check('every command is run by a check or marked "needs AWS"', async () => failWith(of('sh').filter(({ words }) => !marked.test(words)).flatMap(unrun)));
  for (const [title, language, command, args] of [
    ['every command is one for a shell', 'sh', 'sh', ['-n']],
    ['Python compiles', 'python', 'python3', ['-c', 'import sys; compile(sys.stdin.read(), "", "exec")']],
    ['JSON parses', 'json', 'python3', ['-m', 'json.tool']],
    ['JavaScript compiles', 'js', process.execPath, ['--check', '-']],
  ] as const) {
    await checks.check(title, async () => {
      for (const { at, text } of of(language)) {
        await execa(command, args, { input: text.replace(/<[\w ]+>/g, 'x') }).catch(({ stderr }) => { throw new Error(`${at} ${stderr}`); });
      }
    });
  }
  await checks.check('TypeScript compiles', async () => failWith(await compile(of('ts').filter(({ page }) => page !== 'README.md')))); // that of the README is jsii-rosetta's

  const current = [...pages.keys()].filter(path => path !== 'CHANGELOG.md'); // which has figures of former releases
  await checkFacts(checks, current.map(path => ({ path, prose: proseOfPage(readFileSync(join(root, path), 'utf8')) })));
  await checkTables(checks);
  await checkWords(checks);
  return checks;
}

function read(path: string): Page {
  const source = readFileSync(join(root, path), 'utf8');
  const page: Page = { path, anchors: new Set(Array.from(source.matchAll(/\bid="([^"]+)"/g), ([, id]) => id)), links: [], blocks: [] };
  const slugger = new GitHubSlugger();
  const headings: string[] = [];
  let line = 1;
  const walker = new Parser().parse(source).walker();
  for (let event = walker.next(); event; event = walker.next()) {
    const { entering, node } = event;
    line = node.sourcepos?.[0][0] ?? line; // inline nodes have none
    if (!entering) {
      continue;
    }
    if (node.type === 'heading') {
      headings.splice(node.level - 1, Infinity, textOf(node));
      page.anchors.add(slugger.slug(textOf(node)));
    } else if (node.type === 'link' || node.type === 'image') {
      page.links.push({ line, to: node.destination! });
    } else if (node.type === 'code_block') {
      const before = node.prev?.type === 'paragraph' ? textOf(node.prev) : '';
      page.blocks.push({ line, info: node.info ?? '', text: node.literal!, words: [...headings, before].join(' ') });
    }
  }
  return page;
}

function textOf(parent: Node): string {
  let text = '';
  const walker = parent.walker();
  for (let event = walker.next(); event; event = walker.next()) {
    text += event.node.type === 'softbreak' ? ' ' : event.entering && event.node.literal || '';
  }
  return text;
}

/** How comments of the API name pages, since it is read outside the repository, too. */
const published = 'https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/';

function deadLinks({ path, links }: Page, pages: Map<string, Page>): string[] {
  return links.filter(({ to }) => to.startsWith(published) || !/^[a-z]+:/.test(to)).filter(({ to }) => {
    const [file, anchor] = decodeURIComponent(to).split('#');
    const target = file === '' ? path : file.startsWith(published) ? file.slice(published.length) : normalize(join(dirname(path), file));
    return !existsSync(join(root, target)) || (anchor !== undefined && !pages.get(target)?.anchors.has(anchor));
  }).map(({ line, to }) => `${path}:${line} ${to}`);
}

/** Commands of a block of which nothing shows that they are run. What only sets a variable is none. */
function unrun({ at, text, page }: Block & { readonly at: string; readonly page: string }): string[] {
  return text.replaceAll('\\\n', ' ').split(/\n| && /)
    .map(command => command.replace(/(^|\s+)# .*/, '').trim())
    .filter(command => command !== '' && !/^(export \w+=[^$]*)+$/.test(command))
    .filter(command => !pageCommands.some(known => known.page === page && known.command.test(command)))
    .filter(command => {
      const [file, words, named = file] = runBy[command] ?? [];
      return file === undefined || !existsSync(join(root, named!)) || !readFileSync(join(root, file), 'utf8').includes(words!);
    })
    .map(command => `${at} ${command}`);
}

/** In a fixture of jsii-rosetta's, which names what an example takes for granted. */
async function compile(blocks: (Block & { readonly at: string })[]): Promise<string[]> {
  const folder = join(root, '.try', 'docs');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const { at, info, text } of blocks) {
    const fixture = /fixture=(\S+)/.exec(info)?.[1] ?? 'default';
    const around = readFileSync(join(root, 'rosetta', `${fixture}.ts-fixture`), 'utf8');
    writeFileSync(join(folder, `${at.replace(/[/:]/g, '_')}.ts`), around.replace('/// here', () => text));
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    extends: join(root, 'tsconfig.dev.json'),
    compilerOptions: {
      rootDir: root,
      typeRoots: [join(root, 'node_modules', '@types')],
      noUnusedLocals: false,
      noUnusedParameters: false,
      paths: { 'cdk-secure-mlflow': [join(root, 'src')] },
    },
    include: ['*.ts'],
    exclude: [],
  }));
  const { stdout } = await execa('tsc', ['--project', folder], { cwd: folder, preferLocal: true, localDir: root, reject: false });
  return stdout.split('\n').filter(line => line !== '');
}

if (process.argv[1] === import.meta.filename) {
  process.exitCode = Math.min((await checkDocs()).failed, 1);
}
