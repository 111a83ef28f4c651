/**
 * Fails if the API of the last build breaks the API of the newest release on npm. Intended breaks are listed in .compatignore.
 *
 * jsii-diff can query npm itself, but it treats a registry that does not answer like an unpublished package, and it ignores breaks of experimental APIs.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { root } from './steps.mjs';

const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const folder = join(root, '.try', 'compat'); // inside the clone, where the old assembly finds those of aws-cdk-lib and constructs

async function breaks(): Promise<string | undefined> {
  const { failed, stdout } = await execa('npm', ['view', `${name}@latest`, 'version', '--json', '--fetch-retries=1'], { reject: false });
  const answer = JSON.parse(stdout || '{}');
  if (failed && answer.error?.code === 'E404') {
    console.log(`✓ ${name} is not published on npm yet: there is no API to compare`);
    return undefined;
  }
  if (failed) {
    return `npm does not return the newest release: ${answer.error?.summary ?? stdout}`;
  }
  rmSync(folder, { recursive: true, force: true });
  await execa('npm', ['install', '--prefix', folder, '--legacy-peer-deps', '--no-audit', '--no-fund', `${name}@${answer}`]);
  const diff = await execa('jsii-diff', [join(folder, 'node_modules', name), root, '--keys', '--error-on', 'all', '--ignore-file', join(root, '.compatignore')], { preferLocal: true, reject: false, all: true });
  if (diff.failed) {
    return `jsii-diff found breaks of the API of ${name} ${answer}; if a break is intended, add its key (in brackets) to .compatignore:\n${diff.all}`;
  }
  console.log(`✓ the API is compatible with ${name} ${answer}`);
  return undefined;
}

const reason = await breaks();
if (reason !== undefined) {
  console.error(`✗ ${reason}`);
  process.exitCode = 1;
}
