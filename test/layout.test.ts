import { readdirSync, readFileSync } from 'fs';
import { dirname, join, relative, resolve } from 'path';
import * as ts from 'typescript';

const root = resolve(__dirname, '..', 'src');

/** Files of src/ that a file imports, including type imports, which the lint rule does not check. */
function importsOf(file: string): string[] {
  const { importedFiles } = ts.preProcessFile(readFileSync(join(root, file), 'utf8'));
  return importedFiles.filter(({ fileName }) => fileName.startsWith('.')).map(({ fileName }) => relative(root, `${join(root, dirname(file), fileName)}.ts`));
}

/** Includes the file itself, if it imports itself indirectly. */
function reachableFrom(file: string, seen = new Set<string>()): Set<string> {
  for (const next of importsOf(file).filter(name => !seen.has(name))) {
    reachableFrom(next, seen.add(next));
  }
  return seen;
}

test('no file of src/ imports itself indirectly', () => {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'));
  expect(files).toEqual(expect.arrayContaining(importsOf('index.ts')));
  expect(files.filter(file => reachableFrom(file).has(file))).toEqual([]);
});
