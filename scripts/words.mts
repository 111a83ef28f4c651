/** Words and phrases that make sentences hard to read or name one thing in two ways, and what to write instead. `npm run docs` searches pages, comments and texts. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { failWith, linesOf, proseOfHtml, proseOfPage, proseOfPython, proseOfTypeScript, type Prose } from './prose.mjs';
import { root } from './steps.mjs';
import type { Checks } from '../local/checks/checks.mjs';

/** A space in a pattern also matches the end of a line. */
const words: readonly [pattern: RegExp, instead: string][] = [
  // Say who or what is meant
  [/\b(?:nobody|somebody|anybody)\b(?<![@:]\w+)(?![@:]\w)/i, 'the passive, or "people", "a person", "anyone", "no request"'],
  [/\b(?:whoever|whomever)\b/i, '"people who", "anyone who", "a client that"'],
  [/\b(?:by|for|from|of|to|with) who (?!may|can|could)/i, '"people who"'],
  [/\bnothing of\b/i, '"no …", "none of"'],
  [/\bof it\b(?! [a-z])/i, 'leave it out, or name the thing'],
  [/\bof (?:its|their) own\b/i, '"its own …", "a separate …"'],
  [/\bone's own\b/i, '"your own"'],

  // Plain words
  [/\bbesides?\b/i, '"next to" for a place, else "in addition to", "with", "as well as"'],
  [/\bmeanwhile\b/i, '"at the same time", "until then"'],
  [/\blikewise\b/i, '"also", "in the same way"'],
  [/\bhence\b/i, '"so", "therefore"'],
  [/\bthereby\b/i, '"so", "with it"'],
  [/\bthe like\b(?! of)/i, 'name it, or "and similar …"'],
  [/\bsome \d/i, '"about"'],
  [/\bsave for\b/i, '"except"'],
  [/\ba wish of\b/i, '"wanted by", "requested by"'],
  [/\bat work\b/i, '"in use", "tested"'],
  [/\b(?:simply|easily)\b|(?<!\b(?:has|have|had|was|were|is|are) )\bjust\b/i, 'leave it out'],
  [/(?:^|[.:;] )Nor\b/, '"and … not"'],
  [/(?:^|[.:;] )Else\b/, '"Otherwise"'],
  [/(?:^|[.:;] )So (?:is|are|do|does|has|have|can|must)\b/, 'a whole sentence'],
  [/(?:^|[.:;] )The same (?:for|with|without|in|where|of|by)\b/, 'a whole sentence'],

  // One word for one thing
  [/\bidentity providers?\b|\bIdPs?\b/i, '"sign-in provider"'],
  [/\b(?:[Ll]og|logs|logged|logging) in(?=[.,;:)]| (?:to|at|with|as|again|first|once)\b|$)/, '"sign in"'],
  [/\blog(?:s|ged|ging)? out\b/, '"sign out"'],
  [/\b(?:whitelist|blacklist)(?:s|ed|ing)?\b/i, '"list of what is allowed", "list of what is refused"'],
];

const patterns = words.map(([pattern, instead]) => ({ pattern: new RegExp(pattern.source.replaceAll(' ', '\\s+'), `${pattern.flags}g`), instead }));

function hitsIn(path: string, { line, text }: Prose): string[] {
  const prose = text.replace(/`[^`]*`/g, code => code.replace(/[^\n]+/g, '`')).replace(/\bhttps?:\S+/g, '');
  return patterns.flatMap(({ pattern, instead }) => Array.from(prose.matchAll(pattern), ({ 0: word, index }) => {
    const at = line + prose.slice(0, index + word.length).split('\n').length - 1;
    return `${path}:${at} ${word.replace(/\s+/g, ' ')} → ${instead}`;
  }));
}

export async function checkWords(checks: Checks): Promise<void> {
  const { stdout } = await execa('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md', '*.ts', '*.mts', '*.py', '*.html', '*.d2'], { cwd: root });
  const paths = stdout.split('\n');
  const read = (path: string) => readFileSync(join(root, path), 'utf8');
  const found: Record<string, string[]> = {
    'the pages': paths.filter(path => path.endsWith('.md') && path !== 'API.md') // API.md has the comments of src/
      .flatMap(path => proseOfPage(read(path)).flatMap(prose => hitsIn(path, prose))),
    'comments and texts of TypeScript': paths.filter(path => /^(?:src|local|scripts|bench|test|examples|site)\/.*\.m?ts$|^\.projenrc\.ts$/.test(path))
      .flatMap(path => proseOfTypeScript(path, read(path)).flatMap(prose => hitsIn(path, prose))),
    'comments and texts of Python': proseOfPython(root, paths.filter(path => path.endsWith('.py')))
      .flatMap(({ path, ...prose }) => hitsIn(path, prose)),
    'pages of the browser and pictures': paths.filter(path => /\.(?:html|d2)$/.test(path))
      .flatMap(path => (path.endsWith('.d2') ? linesOf(read(path)) : proseOfHtml(read(path))).flatMap(prose => hitsIn(path, prose))),
  };
  for (const [where, hits] of Object.entries(found)) {
    await checks.check(`${where} have no word of the list in scripts/words.mts`, async () => failWith(hits));
  }
}
