/** The prose of pages and of code with its line numbers: sentences, rows of tables, comments, texts. Blocks of code are left out. */

import { Parser, type Node } from 'commonmark';
import { execaSync } from 'execa';
import ts from 'typescript';

export interface Prose {
  readonly line: number;
  /** Its lines as they are in the file. Code is in backticks. */
  readonly text: string;
}

/** Sentences and rows of tables of a page, without the tables that `npm run bench` writes. */
export function proseOfPage(markdown: string): Prose[] {
  const prose: Prose[] = [];
  let generated = false;
  const walker = new Parser().parse(markdown).walker();
  for (let event = walker.next(); event; event = walker.next()) {
    const { entering, node } = event;
    if (entering && node.type === 'html_block') {
      generated = generated ? !node.literal!.includes('<!-- /bench') : node.literal!.includes('<!-- bench:');
    } else if (entering && !generated && (node.type === 'paragraph' || node.type === 'heading')) {
      const lines = linesOfBlock(node);
      prose.push(...lines[0].text.startsWith('|') ? lines.filter(({ text }) => !/^[|\s:-]*$/.test(text)) : sentences(lines));
    }
  }
  return prose;
}

function linesOfBlock(block: Node): Prose[] {
  const lines: Prose[] = [];
  let [line, text] = [block.sourcepos[0][0], ''];
  const walker = block.walker();
  for (let event = walker.next(); event; event = walker.next()) {
    const { entering, node } = event;
    if (node.type === 'softbreak' || node.type === 'linebreak') {
      lines.push({ line, text });
      [line, text] = [line + 1, ''];
    } else if (entering && node.type === 'text') {
      text += node.literal;
    } else if (entering && node.type === 'code') {
      text += `\`${node.literal}\``;
    }
  }
  return [...lines, { line, text }];
}

function sentences(lines: Prose[]): Prose[] {
  const found: Prose[] = [];
  let open: Prose | undefined;
  let lastLine = 0;
  for (const { line, text } of lines) {
    for (const part of text.split(/(?<=[.!?][)"]?) +(?=\S)/)) {
      open = open === undefined ? { line, text: part.trim() } : { ...open, text: `${open.text}${'\n'.repeat(line - lastLine)}${part.trim()}` };
      lastLine = line;
      if (/[.!?][)"]?$/.test(part)) {
        found.push(open);
        open = undefined;
      }
    }
  }
  return [...found, ...open === undefined ? [] : [open]].filter(({ text }) => text !== '');
}

/** How checks of pages and code fail: with a line for each place. */
export function failWith(wrong: string[]): void {
  if (wrong.length > 0) {
    throw new Error(wrong.join('\n'));
  }
}

/** Number words as digits, so that one pattern finds both: "30 minutes" for "half an hour", "1 minute" for "a minute". "A second" may be an ordinal and stays. */
export function withDigits(text: string): string {
  const words = ['two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve', 'thirteen', 'fourteen', 'fifteen'];
  return text.replaceAll('\n', ' ')
    .replace(/\bhalf an hour\b/g, '30 minutes').replace(/\bhalf a minute\b/g, '30 seconds')
    .replace(/\b(?:an?|one) (?=(?:minute|hour|day|week|month)\b)/gi, '1 ')
    .replace(new RegExp(`\\b(?:${words.join('|')})\\b`, 'gi'), word => String(words.indexOf(word.toLowerCase()) + 2));
}

/** Comments without examples, and texts that contain a space. Names of files and modules contain none. */
export function proseOfTypeScript(path: string, source: string): Prose[] {
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true);
  const comments = new Map<number, Prose>();
  const texts: Prose[] = [];
  const lineOf = (position: number) => file.getLineAndCharacterOfPosition(position).line + 1;
  const visit = (node: ts.Node): void => {
    if (node.getChildCount(file) === 0) {
      const ranges = [...ts.getLeadingCommentRanges(source, node.pos) ?? [], ...ts.getTrailingCommentRanges(source, node.end) ?? []];
      for (const { pos, end } of node.kind === ts.SyntaxKind.JsxText ? [] : ranges) {
        comments.set(pos, { line: lineOf(pos), text: source.slice(pos, end) });
      }
    }
    const text = ts.isStringLiteralLike(node) ? node.text : ts.isTemplateExpression(node) ? textOfTemplate(node) : '';
    if (text.includes(' ')) {
      texts.push({ line: lineOf(node.getStart(file)), text });
    }
    node.getChildren(file).filter(({ kind }) => kind < ts.SyntaxKind.FirstJSDocNode || kind > ts.SyntaxKind.LastJSDocNode).forEach(visit);
  };
  visit(file);
  return [...[...comments.values()].flatMap(comment => sentences(withoutExamples(linesOfComment(comment)))), ...texts];
}

/** Whole, so that code in backticks is found across its values. */
function textOfTemplate({ head, templateSpans }: ts.TemplateExpression): string {
  return [head, ...templateSpans.map(({ literal }) => literal)].map(({ text }) => text).join('…');
}

function linesOfComment({ line, text }: Prose): Prose[] {
  return text.split('\n').map((one, index) => ({ line: line + index, text: one.replace(/^\s*(\/\*\*?|\*\/|\*|\/\/)/, '').replace(/\*\/$/, '').trim() }));
}

function withoutExamples(lines: Prose[]): Prose[] {
  let example = false;
  return lines.filter(({ text }) => {
    example = /^@\w/.test(text) ? text.startsWith('@example') : example;
    return !example;
  });
}

/** The text of a page for the browser, line by line. */
export function proseOfHtml(source: string): Prose[] {
  const bare = source.replace(/\{\{.*?\}\}|<style>.*?<\/style>|<script>.*?<\/script>|<[^>]*>/gs, tag => tag.replace(/[^\n]+/g, ' '));
  return linesOf(bare);
}

export function linesOf(source: string): Prose[] {
  return source.split('\n').map((text, index) => ({ line: index + 1, text: text.trim() }));
}

/** Python's tokenizer finds comments and texts that contain a space. */
const tokenizer = `
import json, sys, tokenize
kinds = {getattr(tokenize, name, None) for name in ("COMMENT", "STRING", "FSTRING_MIDDLE")}
found = []
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in kinds and " " in token.string:
                found.append({"path": path, "line": token.start[0], "text": token.string})
print(json.dumps(found))
`;

export function proseOfPython(cwd: string, paths: string[]): (Prose & { readonly path: string })[] {
  return JSON.parse(execaSync('python3', ['-c', tokenizer, ...paths], { cwd }).stdout);
}
