/**
 * Fails if the API, as it was compiled last, breaks what the newest release on npm promised. A break on purpose stands in .compatignore.
 *
 * jsii-diff can ask npm itself, but takes a registry that does not answer for a package that was never published, and lets pass what is experimental.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { root } from './steps.mjs';

const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const folder = join(root, '.try', 'compat'); // below the clone, where the old assembly finds those of aws-cdk-lib and constructs

async function breaks(): Promise<string | undefined> {
  const { failed, stdout } = await execa('npm', ['view', `${name}@latest`, 'version', '--json', '--fetch-retries=1'], { reject: false });
  const answer = JSON.parse(stdout || '{}');
  if (failed && answer.error?.code === 'E404') {
    console.log(`✓ ${name} has never been published to npm: there is no API to keep`);
    return undefined;
  }
  if (failed) {
    return `npm does not say what the newest release is: ${answer.error?.summary ?? stdout}`;
  }
  rmSync(folder, { recursive: true, force: true });
  await execa('npm', ['install', '--prefix', folder, '--legacy-peer-deps', '--no-audit', '--no-fund', `${name}@${answer}`]);
  const diff = await execa('jsii-diff', [join(folder, 'node_modules', name), root, '--keys', '--error-on', 'all', '--ignore-file', join(root, '.compatignore')], { preferLocal: true, reject: false, all: true });
  if (diff.failed) {
    return `compared with ${name} ${answer}, jsii-diff refuses the API; a break that is meant has its key, what stands in brackets, in .compatignore:\n${diff.all}`;
  }
  console.log(`✓ the API keeps what ${name} ${answer} promised`);
  return undefined;
}

const reason = await breaks();
if (reason !== undefined) {
  console.error(`✗ ${reason}`);
  process.exitCode = 1;
}
