import { known } from './problems';

/** What may follow an option. */
const VALUES = {
  'a whole number': /^\d+$/,
  'a name': /^[a-z]+$/, // not a path, which would be loaded
  'a value': /^(?!-.)/, // gunicorn takes what begins with a dash for an option, but not a dash alone
  'no value': undefined,
};

/**
 * What `gunicornOpts` may hold: options that tune gunicorn. Others rebind the server, load code, read options from elsewhere, believe what
 * clients say or hide the log.
 */
export const GUNICORN_OPTIONS: Record<string, keyof typeof VALUES> = {
  '--access-logfile': 'a value',
  '--access-logformat': 'a value',
  '--backlog': 'a whole number',
  '--capture-output': 'no value',
  '--graceful-timeout': 'a whole number',
  '--keep-alive': 'a whole number',
  '--limit-request-field_size': 'a whole number',
  '--limit-request-fields': 'a whole number',
  '--limit-request-line': 'a whole number',
  '--log-level': 'a name',
  '--max-requests': 'a whole number',
  '--max-requests-jitter': 'a whole number',
  '--no-sendfile': 'no value',
  '--preload': 'no value',
  '--threads': 'a whole number',
  '--timeout': 'a whole number',
  '--worker-class': 'a name',
  '--worker-connections': 'a whole number',
  '--worker-tmp-dir': 'a value',
  '-k': 'a name',
  '-t': 'a whole number',
};

export function gunicornProblems(gunicornOpts?: string): string[] {
  if (!known(gunicornOpts)) {
    return [];
  }
  const words = wordsOf(gunicornOpts);
  if (words.length === 0) {
    return [`\`gunicornOpts\` must hold at least one option, got ${JSON.stringify(gunicornOpts)}: leave it out to run under uvicorn`];
  }
  if (gunicornOpts.includes('\\')) {
    return [`\`gunicornOpts\` must hold no backslash, got ${JSON.stringify(gunicornOpts)}: use quotes around a value with blanks`];
  }
  const problems: string[] = [];
  while (words.length > 0) {
    const word = words.shift()!;
    const [, long, longValue, short, shortValue] = /^(--[^=]+)(?:=(.*))?$|^(-[A-Za-z])(?:=?(.+))?$/s.exec(word) ?? [];
    const option = long ?? short;
    const kind = GUNICORN_OPTIONS[option];
    if (kind === undefined) {
      while (words[0]?.startsWith('-') === false) {
        words.shift(); // what belongs to it
      }
      problems.push(`\`gunicornOpts\` must hold options alone that tune gunicorn, got ${JSON.stringify(word)}: leave it out (for the number of workers use \`workers\`), or use one of ${Object.keys(GUNICORN_OPTIONS).join(', ')}`);
      continue;
    }
    const attached = longValue ?? shortValue;
    const value = attached === undefined && kind !== 'no value' ? words.shift() : attached;
    const isRight = kind === 'no value' ? value === undefined : value !== undefined && VALUES[kind]!.test(value);
    if (!isRight) {
      problems.push(`\`gunicornOpts\`: ${option} must have ${kind}, got ${JSON.stringify(value ?? '')}`);
    }
  }
  return problems;
}

/** As a shell would read it, and MLflow does. */
function wordsOf(text: string): string[] {
  const words = text.match(/(?:"[^"]*"?|'[^']*'?|[^ \t\r\n"'])+/g) ?? [];
  return words.map(word => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}
