/**
 * PyPI shows the README but cannot resolve its relative links; GitHub, npm and Construct Hub can.
 * In the assembly, from which the Python package gets the README, they are replaced by URLs of the version that is built.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './steps.mjs';

const file = join(root, '.jsii');
const assembly = JSON.parse(readFileSync(file, 'utf8'));
const repository: string = assembly.repository.url.replace(/\.git$/, '');
const ref = assembly.version === '0.0.0' ? 'main' : `v${assembly.version}`; // the tag of a release; the version between releases is 0.0.0

assembly.readme.markdown = assembly.readme.markdown.replace(/(!?)(\[[^\]]*\]\()(?!https?:|#)/g, (_: string, picture: string, before: string) => {
  return `${picture}${before}${picture ? repository.replace('github.com', 'raw.githubusercontent.com') : `${repository}/blob`}/${ref}/`;
});
writeFileSync(file, JSON.stringify(assembly, undefined, 2));
