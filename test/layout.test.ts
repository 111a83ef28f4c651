import { readdirSync, readFileSync } from 'fs';
import { dirname, join, relative, resolve } from 'path';
import * as ts from 'typescript';

const root = resolve(__dirname, '..', 'src');

/** Files of src/ that a file imports, also those of which it needs types alone, which the lint rule does not see. */
function importsOf(file: string): string[] {
  const { importedFiles } = ts.preProcessFile(readFileSync(join(root, file), 'utf8'));
  return importedFiles.filter(({ fileName }) => fileName.startsWith('.')).map(({ fileName }) => relative(root, `${join(root, dirname(file), fileName)}.ts`));
}

/** Itself, too, if it is one of them. */
function reachableFrom(file: string, seen = new Set<string>()): Set<string> {
  for (const next of importsOf(file).filter(name => !seen.has(name))) {
    reachableFrom(next, seen.add(next));
  }
  return seen;
}

test('no file of src/ imports one that leads back to it', () => {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'));
  expect(files).toEqual(expect.arrayContaining(importsOf('index.ts')));
  expect(files.filter(file => reachableFrom(file).has(file))).toEqual([]);
});
